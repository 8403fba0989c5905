//! One container and several networks: added one after another, deleted in the reverse order.

use cni_spec::Operation;
use serde_json::Value;

use super::error::RuntimeError;
use super::{Attach, Runtime, one_or_several};

impl Runtime {
    /// Adds a container to networks, one after another (`runtime.networks-sequential`); answers the results in their order.
    ///
    /// # Errors
    /// When one of the ADDs fails: see [`Runtime::add`]. The container is deleted from the networks before it then.
    pub fn add_all(&self, attachments: &[Attach]) -> Result<Vec<Value>, RuntimeError> {
        let chosen = self.joined(Operation::Add, attachments);
        if self.policy.networks_beside() {
            return beside(&chosen, |attach| self.add(attach));
        }
        let mut results = Vec::new();
        for (index, attach) in chosen.iter().enumerate() {
            match self.add(attach) {
                Ok(result) => results.push(result),
                Err(error) => {
                    let before = chosen[..index].iter().rev();
                    let failed = before.filter_map(|attach| self.del(attach).err()).collect();
                    return Err(error.cleaned_up(one_or_several(failed)));
                }
            }
        }
        Ok(results)
    }

    /// Deletes a container from networks, given in the order of their ADDs (`runtime.networks-del-reverse`). One that fails
    /// keeps none of the others.
    ///
    /// # Errors
    /// All that went wrong: see [`Runtime::del`].
    pub fn del_all(&self, attachments: &[Attach]) -> Result<(), RuntimeError> {
        let chosen = self.joined(Operation::Del, attachments);
        one_or_several(chosen.into_iter().filter_map(|attach| self.del(attach).err()).collect())
    }

    /// Checks a container's attachments to networks.
    ///
    /// # Errors
    /// All that went wrong: see [`Runtime::check`].
    pub fn check_all(&self, attachments: &[Attach]) -> Result<(), RuntimeError> {
        one_or_several(attachments.iter().filter_map(|attach| self.check(attach).err()).collect())
    }

    fn joined<'a>(&self, operation: Operation, attachments: &'a [Attach]) -> Vec<&'a Attach> {
        let order = self.policy.networks(operation, attachments.len());
        order.into_iter().filter_map(|index| attachments.get(index)).collect()
    }
}

/// Does something with all at the same time.
fn beside<T: Send>(
    attachments: &[&Attach],
    act: impl Fn(&Attach) -> Result<T, RuntimeError> + Sync,
) -> Result<Vec<T>, RuntimeError> {
    std::thread::scope(|scope| {
        let running: Vec<_> = attachments.iter().map(|attach| scope.spawn(|| act(attach))).collect();
        running
            .into_iter()
            .map(|one| match one.join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect()
    })
}
