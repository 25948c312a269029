//! What is fed with bytes at random: one function per kind of input from outside.
//!
//! Each function panics where a promise is broken, and returns otherwise. `fuzz/` (outside of the
//! workspace, for cargo-fuzz) runs them for as long as it is told, with `cargo xtask fuzz`; the tests here
//! replay the corpus that is kept in `fuzz/corpus`, in every run of the suite.

mod certificates;
mod consul;
mod parameters;
mod values;

pub use certificates::certificates;
pub use consul::consul;
pub use parameters::parameters;
pub use values::values;

#[cfg(test)]
mod tests {
    use testkit::corpus::replay;

    #[test]
    fn the_corpus_of_parameters_is_replayed() {
        replay("parameters", super::parameters).unwrap();
    }

    #[test]
    fn the_corpus_of_values_is_replayed() {
        replay("values", super::values).unwrap();
    }

    #[test]
    fn the_corpus_of_consuls_answers_is_replayed() {
        replay("consul", super::consul).unwrap();
    }

    #[test]
    fn the_corpus_of_certificates_is_replayed() {
        replay("certificates", super::certificates).unwrap();
    }
}
