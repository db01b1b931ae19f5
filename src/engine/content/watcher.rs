//! Receivers of the bytes of a dump that is being read for another purpose.

use super::kind::Content;

/// Gets the bytes of a dump, decrypted and decompressed, while it is read.
pub trait Watcher {
    /// Takes the next bytes of a dump of this kind.
    fn watch(&mut self, content: Content, bytes: &[u8]);
}

/// A watcher that ignores all bytes.
#[derive(Debug)]
pub struct Nobody;

impl Watcher for Nobody {
    fn watch(&mut self, _: Content, _: &[u8]) {}
}
