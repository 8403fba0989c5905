//! Deals what was dealt least before, so that each of a few choices is played once before any of them is played again.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use cni_schemas::generate::Source;

use super::lock;

/// Choices, of which a [`Deck`] deals one at a time.
#[derive(Debug)]
pub(super) struct Pile<T> {
    choices: Vec<(u64, T)>,
    /// Each was dealt, in this pile or in another that has it too.
    known: AtomicBool,
}

impl<T: Hash> Pile<T> {
    /// Choices of something; `of` tells apart equal choices of different things. Choices are told apart by their hashes: two
    /// with the same one are dealt as if they were one.
    pub(super) fn new(of: impl Hash, choices: impl IntoIterator<Item = T>) -> Pile<T> {
        let key = |one: &T| {
            let mut hasher = DefaultHasher::new();
            of.hash(&mut hasher);
            one.hash(&mut hasher);
            hasher.finish()
        };
        let choices = choices.into_iter().map(|one| (key(&one), one)).collect();
        Pile { choices, known: AtomicBool::new(false) }
    }
}

/// How often each choice was dealt.
#[derive(Debug, Default)]
pub(super) struct Deck {
    dealt: Mutex<HashMap<u64, u32>>,
}

impl Deck {
    /// Whether some choice was not dealt yet.
    pub(super) fn has_new<T>(&self, pile: &Pile<T>) -> bool {
        if pile.known.load(Ordering::Relaxed) {
            return false;
        }
        let dealt = lock(&self.dealt);
        let new = pile.choices.iter().any(|(key, _)| !dealt.contains_key(key));
        pile.known.store(!new, Ordering::Relaxed);
        new
    }

    /// Any of the choices that were dealt least; none where there are none.
    pub(super) fn deal<'a, T>(&self, pile: &'a Pile<T>, source: &mut dyn Source) -> Option<&'a T> {
        let mut dealt = lock(&self.dealt);
        let (mut least, mut rare) = (u32::MAX, Vec::with_capacity(pile.choices.len()));
        for choice in &pile.choices {
            let count = dealt.get(&choice.0).copied().unwrap_or_default();
            if count < least {
                least = count;
                rare.clear();
            }
            if count == least {
                rare.push(choice);
            }
        }
        let count = u32::try_from(rare.len()).ok().filter(|count| *count > 0)?;
        let (key, one) = rare[source.below(count) as usize];
        *dealt.entry(*key).or_default() += 1;
        Some(one)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use cni_schemas::generate::Random;

    use super::*;

    #[test]
    fn each_is_dealt_once_before_any_is_dealt_again() {
        let (deck, pile, mut random) = (Deck::default(), Pile::new(1, ["a", "b", "c", "d"]), Random::new(1));
        for _ in 0..3 {
            let dealt: BTreeSet<&str> =
                (0..4).filter_map(|_| deck.deal(&pile, &mut random)).copied().collect();
            assert_eq!(dealt.len(), 4, "{dealt:?}");
        }
        assert!(!deck.has_new(&pile));
        assert!(deck.has_new(&Pile::new(2, ["a"])), "an equal choice of another thing");
        assert!(!deck.has_new(&Pile::new(1, ["b", "a"])), "another pile with the same choices");
        let more = Pile::new(1, ["a", "e"]);
        assert!(deck.has_new(&more));
        assert_eq!(deck.deal(&more, &mut random), Some(&"e"));
        assert_eq!(deck.deal(&Pile::<u8>::new(1, []), &mut random), None);
    }
}
