//! The schema files and their fixtures, judged together.

mod annotations;
mod coverage;
mod fixtures;
mod generate;
mod mutate;
mod properties;
