//! Who is told of a run, and who gets copies.

pub mod notify;
pub mod telegram;
