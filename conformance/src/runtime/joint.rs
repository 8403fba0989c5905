//! One container and several networks: added one after another, deleted in the reverse order.

use super::error::RuntimeError;
use super::{Attach, Runtime};
use cni_spec::Operation;
use serde_json::Value;

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
                Err(add) => {
                    let before = chosen[..index].iter().rev();
                    let failed: Vec<RuntimeError> =
                        before.filter_map(|attach| self.del(attach).err()).collect();
                    return Err(match failed.is_empty() {
                        true => add,
                        false => RuntimeError::CleanUp {
                            add: Box::new(add),
                            cleanup: Box::new(RuntimeError::Several(failed)),
                        },
                    });
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
        all(chosen.into_iter().filter_map(|attach| self.del(attach).err()).collect())
    }

    /// Checks a container's attachments to networks.
    ///
    /// # Errors
    /// All that went wrong: see [`Runtime::check`].
    pub fn check_all(&self, attachments: &[Attach]) -> Result<(), RuntimeError> {
        all(attachments.iter().filter_map(|attach| self.check(attach).err()).collect())
    }

    fn joined<'a>(&self, operation: Operation, attachments: &'a [Attach]) -> Vec<&'a Attach> {
        let order = self.policy.networks(operation, attachments.len());
        order.into_iter().filter_map(|index| attachments.get(index)).collect()
    }
}

/// One error as it is, several as one.
fn all(mut errors: Vec<RuntimeError>) -> Result<(), RuntimeError> {
    match errors.len() {
        0 => Ok(()),
        1 => errors.pop().map_or(Ok(()), Err),
        _ => Err(RuntimeError::Several(errors)),
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
