//! A run that dies is a failed run: whoever has started it says so, to all who are told of any other failure, and once.

/// A kill at every point of a run.
mod kills;
/// No room for another process or thread, for memory or for the lock service of a server.
mod limits;
/// Runs that die with who has started them.
mod orphans;
/// A run that somebody ends.
mod stops;

use std::fs;

use serde_json::Value;

use crate::harness::*;

/// A server, a directory, and everybody who is told of a failure.
struct Scene {
    server: &'static Cluster,
    store: Store,
    databases: Vec<Database<'static>>,
    webhook: Webhook,
    api: BotApi,
}

/// What the error hook is told: a line for each call.
const HOOK: &str =
    "#!/bin/sh\n[ \"$1\" = error ] || exit 0\necho \"$1:\" $BACKUP_FILES >>\"$HOOKS_DIR/../told\"\n";
const CHAT: &str = "77";

impl Scene {
    /// With so many databases, and one good backup.
    fn new(label: &str, databases: usize) -> Self {
        let server = Cluster::shared(15);
        let databases: Vec<_> = (0..databases).map(|_| server.database(label)).collect();
        databases.iter().for_each(|database| database.fill(5));
        let scene = Self {
            server,
            store: Store::new(),
            databases,
            webhook: Webhook::start(),
            api: BotApi::start(&[CHAT]),
        };
        scene.store.hook("tell", HOOK);
        Cli::backup(server, &scene.store, &scene.names()).run().succeeded();
        scene
    }

    fn names(&self) -> String {
        self.databases.iter().map(|database| database.name.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// The settings of all who are told.
    fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = vec![
            ("POSTGRES_DB", self.names()),
            ("WEBHOOK_ERROR_URL", self.webhook.url("/error")),
            ("WEBHOOK_POST_BACKUP_URL", self.webhook.url("/post")),
            // The tester's machine may be up for long.
            ("BACKUP_MAX_AGE_HOURS", "1000000".to_owned()),
            // The way to the chats is by a proxy.
            ("no_proxy", "127.0.0.1".to_owned()),
        ];
        settings.extend(self.api.settings(CHAT));
        settings
    }

    fn plan(&self) -> Plan<'_> {
        let plan = Plan::new(self.server, &self.store);
        self.settings().into_iter().fold(plan, |plan, (key, value)| plan.env(key, value))
    }

    /// `backupgram health`, for a daemon of ours or for the scheduler alone.
    fn health(&self, port: u16) -> command::Outcome {
        let cli = Cli::new(self.server, &self.store).args(["health"]);
        let cli = self.settings().into_iter().fold(cli, |cli, (key, value)| cli.env(key, value));
        cli.env("HEALTHCHECK_PORT", port.to_string()).run()
    }

    /// What was told to the error hooks so far.
    fn told(&self) -> Vec<String> {
        let text = fs::read_to_string(self.store.root().join("told")).unwrap_or_default();
        text.lines().map(String::from).collect()
    }

    fn history(&self) -> Vec<Value> {
        let outcome =
            Cli::new(self.server, &self.store).args(["history", "--json", "--limit=1000"]).run().succeeded();
        let json: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
        json["history"].as_array().expect("a list").clone()
    }

    /// Waits until the run after the good one is recorded and told, and asserts that all say the same: that it has failed
    /// for this reason, once. Answers its line of the history.
    #[track_caller]
    fn is_told_once(&self, trigger: &str, error: &str) -> Value {
        let failures = || self.webhook.calls("/error").len();
        wait_until("the webhook to be told", SOON, || failures() > 0 && !self.told().is_empty());
        let summaries = || -> Vec<_> {
            let messages = self.api.messages(CHAT).into_iter();
            messages.filter(|message| message.text.contains("Backup failed")).collect()
        };
        wait_until("the chat to be told", SOON, || !summaries().is_empty());
        let status = self.store.status();
        assert_eq!(status["status"], "FAILED", "{status:#}");
        assert!(status["error"].as_str().is_some_and(|said| said.contains(error)), "{error}: {status:#}");
        let history = self.history();
        assert_eq!(history.len(), 2, "recorded once: {history:#?}");
        let run = &history[0];
        assert_eq!((&run["result"], &run["trigger"]), (&"FAILED".into(), &trigger.into()), "{run:#}");
        assert_eq!(run["error"], status["error"]);
        assert_eq!(run["databases"], status["databases"]);
        assert_eq!(run.get("id"), None, "{run:#}");
        assert!(run["end"].as_i64() >= run["start"].as_i64(), "{run:#}");
        let call = self.webhook.first_call("/error").json();
        assert!(call["error"].as_str().is_some_and(|said| said.contains(error)), "{call:#}");
        assert_eq!((failures(), self.told().len(), summaries().len()), (1, 1, 1), "{:?}", self.told());
        assert!(summaries()[0].text.contains(error), "{:?}", summaries()[0]);
        run.clone()
    }

    /// Asserts that a daemon and the health check show the failure, and that the next run makes all good.
    #[track_caller]
    fn is_red_until_the_next_run(&self, daemon: &Daemon<'_>, error: &str) {
        let last = daemon.status()["last_backup"].clone();
        assert_eq!(last["status"], "FAILED", "{last:#}");
        assert!(last.to_string().contains(error), "{last:#}");
        daemon.is_red(&[error]);
        // Which of two runs is the later one is told by the second.
        let failed = last["timestamp"].as_i64();
        wait_until("the next second", SOON, || Some(jiff::Timestamp::now().as_second()) > failed);
        daemon.back_up();
        assert_eq!(daemon.status()["last_backup"]["status"], "OK");
        daemon.health().succeeded();
        self.store.assert_every_name_is_a_whole_backup();
        assert!(self.store.partial().is_empty(), "{:?}", self.store.partial());
    }

    /// A directory of scripts in which `backup.sh` has these lines.
    fn script(&self, lines: &str) -> String {
        let scripts = self.store.root().join("scripts");
        fs::create_dir_all(&scripts).expect("make a directory for scripts");
        write_script(&scripts.join("backup.sh"), &format!("#!/bin/sh\n{lines}\n"));
        scripts.to_str().expect("UTF-8").to_owned()
    }
}

/// The program itself, for scripts.
const PROGRAM: &str = env!("CARGO_BIN_EXE_backupgram");
