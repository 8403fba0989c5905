//! The generator as a strategy of proptest.

use proptest::strategy::{NewTree, Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::Value;

use super::{Generator, Random, Recorder, Replay};

impl Generator {
    /// A strategy whose documents are all valid, and shrink to simple ones.
    ///
    /// ```
    /// use cni_schemas::{Composed, Kind, Profile};
    /// use cni_spec::Version;
    /// use proptest::prelude::*;
    ///
    /// let schema = Composed::base(Kind::ResultAdd, Version::V1_1_0, Profile::Strict)?;
    /// let documents = schema.generator()?.strategy(8);
    /// proptest!(ProptestConfig::with_cases(16), |(document in documents)| {
    ///     prop_assert_eq!(schema.validate(&document), vec![]);
    /// });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn strategy(&self, size: usize) -> Documents {
        Documents { generator: self.clone(), size }
    }
}

/// See [`Generator::strategy`].
#[derive(Clone, Debug)]
pub struct Documents {
    generator: Generator,
    size: usize,
}

impl Strategy for Documents {
    type Tree = Shrinking;
    type Value = Value;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        let mut random = Random::new(proptest::prelude::any::<u64>().new_tree(runner)?.current());
        let mut recorder = Recorder::new(&mut random);
        let document = self.generator.generate(&mut recorder, self.size);
        let decisions = recorder.decisions;
        Ok(Shrinking { of: self.clone(), document, block: decisions.len(), decisions, at: 0, kept: None })
    }
}

/// A document together with the decisions that made it. Shrinks the decisions: first blocks of them are removed, then set to
/// zero by halves.
#[derive(Clone, Debug)]
pub struct Shrinking {
    of: Documents,
    decisions: Vec<u32>,
    document: Value,
    /// What to return to when a step was one too many.
    kept: Option<(Vec<u32>, Value)>,
    /// Length of the block tried; 0: single decisions are made smaller.
    block: usize,
    at: usize,
}

impl Shrinking {
    fn step(&mut self) -> bool {
        loop {
            let mut next = self.decisions.clone();
            if self.block > 0 {
                if self.at >= next.len() {
                    (self.block, self.at) = (self.block / 2, 0);
                    continue;
                }
                next.drain(self.at..(self.at + self.block).min(self.decisions.len()));
            } else {
                match next.get_mut(self.at) {
                    None => return false,
                    Some(0) => {
                        self.at += 1;
                        continue;
                    }
                    Some(decision) => *decision /= 2,
                }
            }
            let document = self.of.generator.generate(&mut Replay::new(&next), self.of.size);
            let decisions = std::mem::replace(&mut self.decisions, next);
            let old = std::mem::replace(&mut self.document, document);
            self.kept = Some((decisions, old));
            return true;
        }
    }
}

impl ValueTree for Shrinking {
    type Value = Value;

    fn current(&self) -> Value {
        self.document.clone()
    }

    fn simplify(&mut self) -> bool {
        self.kept = None;
        self.step()
    }

    fn complicate(&mut self) -> bool {
        let Some((decisions, document)) = self.kept.take() else { return false };
        (self.decisions, self.document) = (decisions, document);
        self.at += self.block.max(1);
        // Back at what fails; the next simplification starts after the step that went too far.
        true
    }
}
