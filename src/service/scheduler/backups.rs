//! What is wrong with the backups that a go-cron makes, for its health port. A go-cron that runs other commands knows no
//! backup directory and tells of none.

use crate::engine::problems::scheduled::{self, Ended};
use crate::engine::problems::{self, Watch};
use crate::settings::{self, Environment, Redactor};
use crate::store::catalog::BackupDirectory;

/// The variable that says where the backups are. Without it there are none that we know of, whatever its default is.
const DIRECTORY: &str = "BACKUP_DIR";

/// The backups of this go-cron.
#[derive(Debug)]
pub struct Backups {
    directory: BackupDirectory,
    watch: Watch,
}

impl Backups {
    /// Those in the directory that our environment names, if it names one.
    pub fn of_environment() -> Option<Self> {
        let environment = Environment::of_process();
        let directory = BackupDirectory::new(environment.plain(DIRECTORY).ok().flatten()?);
        Some(Self { watch: Watch::new(directory.clone(), None), directory })
    }

    /// The warnings to log at the start.
    pub fn warning(&self) -> Option<String> {
        problems::warning(&settings::effective_environment().ok()?)
    }

    /// What is wrong, a line each, without secrets: everybody may ask the port. The last run of this go-cron `ended` so.
    pub fn problems(&self, ended: &Ended) -> Vec<String> {
        let look = self.watch.look(None);
        let scheduled = scheduled::check(ended, look.last.as_ref());
        // The redactor knows the secrets of the settings by now, as the look has read them.
        let redactor = Redactor::of_process();
        let all = look.problems.into_iter().chain(scheduled);
        all.map(|problem| redactor.clean_for_api(&problem, self.directory.root())).collect()
    }
}
