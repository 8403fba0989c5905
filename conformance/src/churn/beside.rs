//! Two sets of plugins in turn, so that whatever else the machine does touches both alike.

use cni_spec::Operation;
use cnitest_reports::churn::Failure;

use super::ChurnError;
use super::driver::Driver;
use super::plan::Plan;
use super::spy::Memory;

/// What one set took, in microseconds; the samples of two sets were taken in turn.
#[derive(Debug, Clone, Default)]
pub struct Beside {
    /// ADD, all plugins of the chain together.
    pub add: Vec<f64>,
    /// DEL.
    pub del: Vec<f64>,
    /// Both.
    pub pair: Vec<f64>,
    /// CPU time of both.
    pub cpu: Vec<f64>,
    /// The most memory that was resident of a plugin, in KiB: its own, and pages of files, which all executions share.
    pub peak_kib: u64,
    /// The most memory of its own that a plugin had, in KiB.
    pub private_kib: u64,
    /// What failed.
    pub failures: Vec<Failure>,
}

/// Adds and deletes a container with one set and with the other, so often, in an arena for each.
///
/// # Errors
/// When there can be no arena, or nothing can be attached.
pub fn beside(plans: [&Plan; 2], rounds: usize) -> Result<[Beside; 2], ChurnError> {
    let mut drivers = [Driver::start(plans[0])?, Driver::start(plans[1])?];
    let mut both: [Beside; 2] = Default::default();
    for (driver, result) in drivers.iter_mut().zip(&mut both) {
        let most = driver.memory()?.into_values().fold(Memory::default(), Memory::max);
        (result.peak_kib, result.private_kib) = (most.peak_kib, most.private_kib);
        if driver.tally.quantile(Operation::Add, 0.5) == 0 {
            let failure = driver.failures().into_iter().next();
            let reason =
                failure.map(|failure| format!("{} {}: {}", failure.plugin, failure.operation, failure.what));
            return Err(ChurnError::Useless(reason.unwrap_or_default()));
        }
    }
    for round in 0..rounds {
        for turn in [round % 2, (round + 1) % 2] {
            let Some((added, deleted)) = drivers[turn].pair(0, 0)? else { continue };
            let (add, del) = (added.wall.as_secs_f64() * 1e6, deleted.wall.as_secs_f64() * 1e6);
            both[turn].add.push(add);
            both[turn].del.push(del);
            both[turn].pair.push(add + del);
            both[turn].cpu.push((added.cpu + deleted.cpu).as_secs_f64() * 1e6);
        }
    }
    for (driver, result) in drivers.iter().zip(&mut both) {
        result.failures = driver.failures();
    }
    Ok(both)
}
