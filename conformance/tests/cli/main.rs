//! The `cnitest` command as users run it.

mod common;
mod hostile;
mod kill;
mod plugin;
mod skew;
mod text;
