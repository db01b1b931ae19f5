//! What every test stands on: real servers, the real programs, and deadlines instead of sleeps.
//!
//! Everything is started here and stopped here, by the pid that was started; the [`guardian`] does it when the
//! test binary itself is killed.

pub mod brake;
pub mod client;
pub mod cluster;
pub mod command;
pub mod configure;
pub mod daemon;
pub mod fake_clock;
pub mod fixture;
pub mod foreign_cron;
pub mod gnupg;
pub mod guardian;
pub mod hanging_disk;
pub mod loop_disk;
pub mod moments;
pub mod mount;
pub mod network;
pub mod pooler;
pub mod port_watch;
pub mod process;
pub mod prometheus;
pub mod red;
pub mod store;
pub mod telegram;
pub mod wait;
pub mod webhook;

pub use brake::Brake;
pub use client::{Line, Response, exchange, request};
pub use cluster::{
    Cluster, Database, icu_program_directory, program_directory, quoted, without_volatile_lines,
};
pub use command::{Cli, backed_up, coverage};
pub use configure::{argument, overrides, rendered};
pub use daemon::{Daemon, Plan, STOP_LIMIT, job_id};
pub use fake_clock::{FakeClock, write_as_if_ahead};
pub use foreign_cron::{broken_scheduler, foreign_scheduler};
pub use hanging_disk::HangingDisk;
pub use loop_disk::{Kind, LoopDisk};
pub use moments::{Moments, pass};
pub use mount::{ReadOnly, SmallDisk, SmallExt4};
pub use network::Network;
pub use pooler::Pooler;
pub use port_watch::{PortWatch, answers};
pub use process::{Process, may_unshare, may_unshare_network, signal_pid};
pub use prometheus::{Metrics, number};
pub use red::health_port;
pub use store::{SLOTS, Store, corrupt, read_dump, set_modified, sha256, write_script};
pub use telegram::{BotApi, Fault};
pub use wait::{LONG, SOON, wait_for, wait_until};
pub use webhook::Webhook;

/// Makes a test of a function that takes a server, for each version that is supported.
macro_rules! on_every_server {
    ($name:ident) => {
        mod $name {
            #[test]
            fn on_postgresql_15() {
                super::$name(crate::harness::Cluster::shared(15));
            }

            #[test]
            fn on_postgresql_16() {
                super::$name(crate::harness::Cluster::shared(16));
            }

            #[test]
            fn on_postgresql_17() {
                super::$name(crate::harness::Cluster::shared(17));
            }

            #[test]
            fn on_postgresql_18() {
                super::$name(crate::harness::Cluster::shared(18));
            }
        }
    };
}

/// Makes two tests of a function that takes a server: one on PostgreSQL 15 and one on 18.
macro_rules! on_both_servers {
    ($name:ident) => {
        mod $name {
            #[test]
            fn on_postgresql_15() {
                super::$name(crate::harness::Cluster::shared(15));
            }

            #[test]
            fn on_postgresql_18() {
                super::$name(crate::harness::Cluster::shared(18));
            }
        }
    };
}

pub(crate) use {on_both_servers, on_every_server};
