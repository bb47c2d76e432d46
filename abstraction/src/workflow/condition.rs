//! Conditions of steps: the part of CEL that speaks about JSON values.
//!
//! What is accepted means what CEL says it means. Left out are types that JSON has not (unsigned numbers, bytes,
//! times), regular expressions and macros beyond `has`, `all`, `exists`, `exists_one`, `filter` and `map`. A condition
//! is pure: it has no clock, no randomness, and a bound on its work.

mod eval;
mod lex;
mod parse;

use serde_json::Value;

use super::Path;
use crate::id::StepId;

/// The largest number of bytes of a condition.
pub const CONDITION_BYTES_MAX: usize = 4_096;
/// The deepest nesting of a condition.
pub const CONDITION_DEPTH_MAX: usize = 64;
/// The largest number of operations of one evaluation, elements of lists included.
pub const CONDITION_WORK_MAX: u32 = 1_000_000;

/// A checked condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    root: Expression,
    facts: Vec<Fact>,
}

/// One thing a condition asks about its run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// `input.a.b`: a value inside the run's input.
    Input(Path),
    /// `steps.NAME.output.a.b`: a value inside the result of a step; of a fan-out, the list of its results.
    Output(StepId, Path),
    /// `steps.NAME.state`: how a step ended, as text.
    State(StepId),
}

impl Fact {
    /// The step it is about.
    pub fn step(&self) -> Option<&StepId> {
        match self {
            Self::Input(_) => None,
            Self::Output(step, _) | Self::State(step) => Some(step),
        }
    }
}

impl std::fmt::Display for Fact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Input(path) => write!(f, "input{path}"),
            Self::Output(step, path) => write!(f, "steps.{step}.output{path}"),
            Self::State(step) => write!(f, "steps.{step}.state"),
        }
    }
}

impl Condition {
    /// Reads a condition and checks its names.
    ///
    /// # Errors
    /// A message that names the place, or the name nobody knows.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > CONDITION_BYTES_MAX {
            return Err(format!("a condition has at most {CONDITION_BYTES_MAX} bytes"));
        }
        let (root, facts) = parse::parse(text)?;
        Ok(Self { root, facts })
    }

    /// What it asks, each thing once.
    pub fn facts(&self) -> &[Fact] {
        &self.facts
    }

    /// Whether it holds, given what is known of each of [`facts`](Self::facts), in order; `None` where the value has
    /// no such part.
    ///
    /// # Errors
    /// A message that says which operation does not fit which values.
    pub fn holds(&self, known: &[Option<Value>]) -> Result<bool, String> {
        eval::Evaluation::new(&self.facts, known).run(&self.root)
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Expression {
    Literal(Value),
    /// The place of a fact.
    Fact(usize),
    /// `has(…)` of a fact.
    HasFact(usize),
    /// The place of a macro's variable, counted from the outermost.
    Variable(usize),
    Member(Box<Expression>, String),
    HasMember(Box<Expression>, String),
    Index(Box<Expression>, Box<Expression>),
    Not(Box<Expression>),
    Negate(Box<Expression>),
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Binary(Operator, Box<Expression>, Box<Expression>),
    Choice(Box<[Expression; 3]>),
    List(Vec<Expression>),
    Map(Vec<(Expression, Expression)>),
    Call(Function, Vec<Expression>),
    Loop(Macro, Box<Expression>, Box<Expression>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    Int,
    Double,
    Text,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Macro {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
}

#[cfg(test)]
mod tests;
