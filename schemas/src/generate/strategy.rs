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
        Ok(Shrinking {
            of: self.clone(),
            document,
            block: decisions.len(),
            decisions,
            kept: None,
            way: Way::Remove,
            at: 0,
            helped: false,
        })
    }
}

/// A document together with the decisions that made it, which shrink: blocks are removed; a decision becomes zero or one
/// less, together with the block behind it that it made necessary; decisions are halved. This repeats while it helps.
#[derive(Clone, Debug)]
pub struct Shrinking {
    of: Documents,
    decisions: Vec<u32>,
    document: Value,
    /// What to return to when a step was one too many.
    kept: Option<(Vec<u32>, Value)>,
    way: Way,
    block: usize,
    at: usize,
    helped: bool,
}

/// How a decision is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Remove,
    Zero,
    Less,
    Halve,
}

/// The longest block that goes with one decision: what a member of an object takes.
const BLOCK: usize = 24;

impl Shrinking {
    fn step(&mut self) -> bool {
        loop {
            if self.at >= self.decisions.len() && !self.advance() {
                return false;
            }
            let Some(&old) = self.decisions.get(self.at) else { continue };
            let end = (self.at + 1 + self.block).min(self.decisions.len());
            let changed = match self.way {
                Way::Remove => None,
                _ if old == 0 => {
                    self.at += 1;
                    continue;
                }
                Way::Zero => Some(0),
                Way::Less => Some(old - 1),
                Way::Halve => Some(old / 2),
            };
            let mut next = self.decisions.clone();
            next.splice(self.at..end, changed);
            let document = self.of.generator.generate(&mut Replay::new(&next), self.of.size);
            if document == self.document && next.len() == self.decisions.len() && self.way != Way::Halve {
                self.at += 1;
                continue;
            }
            let decisions = std::mem::replace(&mut self.decisions, next);
            let old = std::mem::replace(&mut self.document, document);
            self.kept = Some((decisions, old));
            return true;
        }
    }

    /// To shorter blocks, then to the next way, then once more from the start if anything helped.
    fn advance(&mut self) -> bool {
        self.at = 0;
        (self.way, self.block) = match (self.way, self.block) {
            (Way::Remove, 0) => (Way::Zero, BLOCK),
            (Way::Remove, block) => (Way::Remove, block / 2),
            (Way::Zero, 0) => (Way::Less, BLOCK),
            (Way::Less, 0) => (Way::Halve, 0),
            (Way::Halve, _) if self.helped => {
                self.helped = false;
                (Way::Remove, BLOCK)
            }
            (Way::Halve, _) => return false,
            (way, block) => (way, block - 1),
        };
        true
    }
}

impl ValueTree for Shrinking {
    type Value = Value;

    fn current(&self) -> Value {
        self.document.clone()
    }

    fn simplify(&mut self) -> bool {
        // The step before still fails: it helped, if it changed anything that a person sees.
        self.helped |= self.kept.take().is_some_and(|(_, old)| old != self.document);
        self.step()
    }

    fn complicate(&mut self) -> bool {
        let Some((decisions, document)) = self.kept.take() else { return false };
        (self.decisions, self.document) = (decisions, document);
        self.at += if self.way == Way::Remove { self.block + 1 } else { 1 };
        // Back at what fails; the next simplification starts after the step that went too far.
        true
    }
}
