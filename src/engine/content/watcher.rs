//! Who sees the bytes of a dump while it is read for something else.

use super::kind::Content;

/// Sees what goes by while a file is read, with everything taken off that is wrapped around the dump.
pub trait Watcher {
    /// Takes the next bytes of a dump that holds this.
    fn watch(&mut self, content: Content, bytes: &[u8]);
}

/// One that is not interested.
#[derive(Debug)]
pub struct Nobody;

impl Watcher for Nobody {
    fn watch(&mut self, _: Content, _: &[u8]) {}
}
