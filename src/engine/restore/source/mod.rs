//! The backup to restore: found, told by its content, read from end to end, and what it needs of the server. No server is
//! asked here.

mod checked;
mod convert;
mod needs;
mod opened;
mod selection;
mod statement_kind;
mod tied;

pub use checked::Checked;
pub use convert::{Archive, Converter, Input, feed_archive, hand_on_streamed};
pub use needs::{DatabaseStatement, DatabaseStatementKind, Needs, NeedsReader};
pub use opened::Source;
pub use selection::{Listed, Selection};
pub use statement_kind::StatementKind;
pub use tied::{TIED, Tied};
