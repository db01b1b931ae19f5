//! `backupgram check-env`.

use lexopt::{Arg, Parser, ValueExt};

use super::context::{Failure, Outcome, print};
use crate::engine::checkup;
use crate::engine::problems;
use crate::settings::{self, Reader, Variable};

pub(super) const HELP: &str = "\
backupgram check-env                           everything that is wrong
backupgram check-env --print BACKUP_KEEP_DAYS  what this one is

usage: backupgram check-env [--print NAME]

Lists list what is wrong with the settings, one per line, and warns about
settings that are valid but questionable.

  --print NAME    print the effective value of one setting instead; secrets are
                  refused

environment: every setting, which docs/configuration.md lists.

exit status: 0 nothing is wrong; 1 something is; 2 usage error.";

pub(super) fn run(mut arguments: Parser) -> Outcome {
    let mut wanted = None;
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("print") => wanted = Some(arguments.value()?.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let environment = settings::effective_environment().map_err(Failure::new)?;
    let Some(name) = wanted else {
        let faults = checkup::check(&environment);
        let remarks = checkup::remarks(&environment);
        remarks.iter().for_each(|remark| log::warn!("{remark}"));
        problems::warning(&environment).iter().for_each(|warning| log::warn!("{warning}"));
        checkup::remark_on_time_zone().iter().for_each(|remark| log::warn!("{remark}"));
        return if faults.0.is_empty() { Ok(()) } else { Err(faults.into()) };
    };
    match Variable::named(&name) {
        None => Err(Failure::new(format!("there is no variable {name}"))),
        Some(variable) if variable.secret => Err(Failure::new(format!("{name} is secret"))),
        Some(_) => {
            let value = Reader::resolve(&environment, |reader| Some(reader.text(&name).unwrap_or_default()))?;
            print(&value);
            Ok(())
        }
    }
}
