//! Who is told of a run, and who gets copies.

mod hostname;
pub mod notify;
pub mod telegram;
