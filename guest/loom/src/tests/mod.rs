mod block;
mod claims;
mod notes;

/// Tries every order of the threads that `test` starts, with three preemptions at most.
fn orders(test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(test);
}
