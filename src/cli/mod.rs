//! The command line: what can be asked for, and how answers look. `table.rs` holds the one table
//! of commands and flags; `parse.rs` reads arguments by it, `command.rs` makes them typed, and
//! `help.rs` prints it, as `manual.rs` and `completion/` do for man pages and shells. `output.rs` and
//! `features.rs` are what commands write to stdout. Called by `main` alone; nothing here touches a
//! container.

pub mod checkpoint;
pub mod command;
pub mod completion;
pub mod exec;
pub mod features;
pub mod help;
pub mod manual;
pub mod output;
pub mod parse;
pub mod quantity;
pub mod root;
pub mod signal;
pub mod table;
pub mod update;
