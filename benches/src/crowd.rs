//! Two sets of plugins in turn, each with many containers at a time.

use std::path::Path;
use std::time::Duration;

use cnitest::churn::plan::Plan;
use cnitest::churn::{Churn, Mode, Options};

use crate::Failed;

/// How many plugins run at a time.
pub const AT_A_TIME: usize = 16;

/// Containers that come and go in one turn of a set.
pub const TURN: u64 = 200;

/// How many turns each set has.
pub const TURNS: usize = 8;

/// What came of the turns of one set.
#[derive(Debug, Clone, Default)]
pub struct Crowd {
    /// Of each turn: the time divided by the containers that came and went in it, in microseconds.
    pub each: Vec<f64>,
    /// Executions that failed.
    pub failures: u64,
    /// What was left over.
    pub leaks: u64,
    /// Addresses that two containers had at a time.
    pub duplicates: u64,
}

/// Has [`TURN`] containers come and go, [`AT_A_TIME`], with one set and with the other, [`TURNS`] times.
///
/// # Errors
/// When there can be no arena, or nothing comes and goes.
pub fn crowds(list: &Path, folders: [&Path; 2], timeout: Duration) -> Result<[Crowd; 2], Failed> {
    let mut both: [Crowd; 2] = Default::default();
    for round in 0..TURNS {
        for turn in [round % 2, (round + 1) % 2] {
            let plan = Plan::new(&[list.to_owned()], Some(folders[turn]), 1, timeout)?;
            let run = Churn::new(plan, load(TURN, timeout))?.run(&|_| {})?;
            let Some(load) = run.load.as_ref().filter(|load| load.throughput > 0.0) else {
                return Err(format!("{}: nothing came and went", folders[turn].display()).into());
            };
            let crowd = &mut both[turn];
            crowd.each.push(1e6 / load.throughput);
            crowd.failures += run.failed();
            crowd.leaks += run.leaks.count;
            crowd.duplicates += run.duplicates.count;
        }
    }
    Ok(both)
}

/// So many containers, [`AT_A_TIME`].
pub fn load(containers: u64, timeout: Duration) -> Options {
    Options { containers: Some(containers), ..options(Mode::Load, timeout) }
}

/// [`AT_A_TIME`], for any mode.
pub fn options(mode: Mode, timeout: Duration) -> Options {
    Options {
        containers: None,
        concurrency: AT_A_TIME,
        duration: None,
        rate: None,
        attached: 0,
        check: false,
        mode,
        timeout,
    }
}
