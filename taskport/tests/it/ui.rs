//! What the compiler says of a wrong `#[task]`.

#[test]
fn wrong_tasks_are_refused_at_the_right_place() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}
