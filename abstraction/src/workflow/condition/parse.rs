//! From tokens to a checked expression.

use serde_json::{Number, Value, json};

use super::lex::{Token, tokens};
use super::{CONDITION_DEPTH_MAX, Expression, Fact, Function, Macro, Operator};
use crate::id::StepId;
use crate::text::nearest;
use crate::workflow::Path;

pub(super) fn parse(text: &str) -> Result<(Expression, Vec<Fact>), String> {
    let mut parser =
        Parser { tokens: tokens(text)?, at: 0, nesting: 0, facts: Vec::new(), variables: Vec::new() };
    let parsed = parser.choice()?;
    match parser.peek() {
        Token::End => Ok((parsed.expression, parser.facts)),
        other => Err(format!("{other} at {} is one too many", parser.place())),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
    nesting: usize,
    facts: Vec<Fact>,
    variables: Vec<String>,
}

/// An expression and how deep it is, so that walking and dropping it never overflow a stack.
struct Parsed {
    expression: Expression,
    depth: usize,
}

type Result<T, E = String> = std::result::Result<T, E>;

impl Parsed {
    fn leaf(expression: Expression) -> Self {
        Self { expression, depth: 1 }
    }

    fn above(depth: usize, expression: Expression) -> Result<Self> {
        if depth >= CONDITION_DEPTH_MAX { Err(too_deep()) } else { Ok(Self { expression, depth: depth + 1 }) }
    }

    fn boxed(self) -> Box<Expression> {
        Box::new(self.expression)
    }
}

fn too_deep() -> String {
    format!("a condition is nested more than {CONDITION_DEPTH_MAX} levels deep")
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |(_, token)| token)
    }

    fn place(&self) -> String {
        let place = self.tokens.get(self.at).map_or(0, |(place, _)| *place);
        format!("character {}", place + 1)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn takes(&mut self, symbol: &str) -> bool {
        let there = matches!(self.peek(), Token::Symbol(found) if *found == symbol);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, symbol: &str) -> Result<()> {
        if self.takes(symbol) {
            return Ok(());
        }
        Err(format!("`{symbol}` is missing before {} at {}", self.peek(), self.place()))
    }

    fn name(&mut self) -> Result<String> {
        let place = self.place();
        match self.next() {
            Token::Name(name) => Ok(name),
            other => Err(format!("a name is missing before {other} at {place}")),
        }
    }

    /// `a ? b : c`, the outermost level.
    fn choice(&mut self) -> Result<Parsed> {
        self.nesting += 1;
        if self.nesting > CONDITION_DEPTH_MAX {
            return Err(too_deep());
        }
        let condition = self.any()?;
        let parsed = if self.takes("?") {
            let yes = self.any()?;
            self.expect(":")?;
            let no = self.choice()?;
            let depth = condition.depth.max(yes.depth).max(no.depth);
            let parts = [condition.expression, yes.expression, no.expression];
            Parsed::above(depth, Expression::Choice(Box::new(parts)))?
        } else {
            condition
        };
        self.nesting -= 1;
        Ok(parsed)
    }

    fn any(&mut self) -> Result<Parsed> {
        self.chain("||", Self::all, Expression::Any)
    }

    fn all(&mut self) -> Result<Parsed> {
        self.chain("&&", Self::relation, Expression::All)
    }

    fn chain(
        &mut self,
        symbol: &str,
        part: fn(&mut Self) -> Result<Parsed>,
        join: fn(Vec<Expression>) -> Expression,
    ) -> Result<Parsed> {
        let first = part(self)?;
        if !matches!(self.peek(), Token::Symbol(found) if *found == symbol) {
            return Ok(first);
        }
        let mut depth = first.depth;
        let mut parts = vec![first.expression];
        while self.takes(symbol) {
            let next = part(self)?;
            depth = depth.max(next.depth);
            parts.push(next.expression);
        }
        Parsed::above(depth, join(parts))
    }

    fn relation(&mut self) -> Result<Parsed> {
        use Operator::*;
        let operators = [
            ("==", Equal),
            ("!=", NotEqual),
            ("<=", LessEqual),
            (">=", GreaterEqual),
            ("<", Less),
            (">", Greater),
            ("in", In),
        ];
        self.binary(&operators, Self::sum)
    }

    fn sum(&mut self) -> Result<Parsed> {
        self.binary(&[("+", Operator::Add), ("-", Operator::Subtract)], Self::product)
    }

    fn product(&mut self) -> Result<Parsed> {
        use Operator::{Divide, Multiply, Remainder};
        self.binary(&[("*", Multiply), ("/", Divide), ("%", Remainder)], Self::unary)
    }

    fn binary(
        &mut self,
        operators: &[(&str, Operator)],
        part: fn(&mut Self) -> Result<Parsed>,
    ) -> Result<Parsed> {
        let mut left = part(self)?;
        while let Some((_, operator)) = operators.iter().find(|(symbol, _)| self.takes(symbol)) {
            let right = part(self)?;
            let depth = left.depth.max(right.depth);
            left = Parsed::above(depth, Expression::Binary(*operator, left.boxed(), right.boxed()))?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Parsed> {
        let mut signs = Vec::new();
        loop {
            if self.takes("!") {
                signs.push('!');
            } else if self.takes("-") {
                signs.push('-');
            } else {
                break;
            }
        }
        if signs.len() >= CONDITION_DEPTH_MAX {
            return Err(too_deep());
        }
        let mut parsed = match (self.peek().clone(), signs.last()) {
            (Token::Integer(number), Some('-')) => {
                signs.pop();
                self.at += 1;
                let negative = 0_i64.checked_sub_unsigned(number);
                Parsed::leaf(Expression::Literal(json!(negative.ok_or_else(|| out_of_range(number))?)))
            }
            _ => self.primary()?,
        };
        parsed = self.members(parsed)?;
        for sign in signs.into_iter().rev() {
            let make = if sign == '!' { Expression::Not } else { Expression::Negate };
            parsed = Parsed::above(parsed.depth, make(parsed.boxed()))?;
        }
        Ok(parsed)
    }

    fn primary(&mut self) -> Result<Parsed> {
        let place = self.place();
        match self.next() {
            Token::Literal(value) => Ok(Parsed::leaf(Expression::Literal(value))),
            Token::Integer(number) => {
                let number = i64::try_from(number).map_err(|_| out_of_range(number))?;
                Ok(Parsed::leaf(Expression::Literal(Value::Number(Number::from(number)))))
            }
            Token::Symbol("(") => {
                let inner = self.choice()?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Symbol("[") => {
                let (items, depth) = self.list("]")?;
                Parsed::above(depth, Expression::List(items))
            }
            Token::Symbol("{") => self.map(),
            Token::Name(name) => self.named(&name),
            other => Err(format!("a value is missing before {other} at {place}")),
        }
    }

    /// Expressions up to `close`, and how deep the deepest is.
    fn list(&mut self, close: &str) -> Result<(Vec<Expression>, usize)> {
        let (mut items, mut depth) = (Vec::new(), 0);
        while !self.takes(close) {
            if !items.is_empty() {
                self.expect(",")?;
                if self.takes(close) {
                    break;
                }
            }
            let item = self.choice()?;
            depth = depth.max(item.depth);
            items.push(item.expression);
        }
        Ok((items, depth))
    }

    fn map(&mut self) -> Result<Parsed> {
        let (mut entries, mut depth) = (Vec::new(), 0);
        while !self.takes("}") {
            if !entries.is_empty() {
                self.expect(",")?;
                if self.takes("}") {
                    break;
                }
            }
            let key = self.choice()?;
            self.expect(":")?;
            let value = self.choice()?;
            depth = depth.max(key.depth).max(value.depth);
            entries.push((key.expression, value.expression));
        }
        Parsed::above(depth, Expression::Map(entries))
    }

    fn named(&mut self, name: &str) -> Result<Parsed> {
        if matches!(self.peek(), Token::Symbol("(")) {
            self.at += 1;
            return if name == "has" { self.has() } else { self.call(name, None) };
        }
        if let Some(place) = self.variables.iter().rposition(|variable| variable == name) {
            return Ok(Parsed::leaf(Expression::Variable(place)));
        }
        let fact = match name {
            "input" => Fact::Input(self.path()),
            "steps" => self.step()?,
            _ => return Err(unknown(name, "a condition knows `input` and `steps`", &["input", "steps"])),
        };
        Ok(Parsed::leaf(Expression::Fact(self.fact(fact))))
    }

    fn fact(&mut self, fact: Fact) -> usize {
        self.facts.iter().position(|known| *known == fact).unwrap_or_else(|| {
            self.facts.push(fact);
            self.facts.len() - 1
        })
    }

    /// The names that follow at once: a name before `(` is a method.
    fn path(&mut self) -> Path {
        let mut keys = Vec::new();
        while let [(_, Token::Symbol(".")), (_, Token::Name(key)), (_, after), ..] = &self.tokens[self.at..] {
            if matches!(after, Token::Symbol("(")) {
                break;
            }
            keys.push(key.clone());
            self.at += 2;
        }
        Path(keys)
    }

    fn step(&mut self) -> Result<Fact> {
        let form = || "a step is asked as `steps.NAME.output` or `steps.NAME.state`".to_owned();
        let mut keys = self.path().0.into_iter();
        let step = keys.next().and_then(|name| StepId::new(name).ok()).ok_or_else(form)?;
        match (keys.next().as_deref(), keys.len()) {
            (Some("output"), _) => Ok(Fact::Output(step, Path(keys.collect()))),
            (Some("state"), 0) => Ok(Fact::State(step)),
            _ => Err(form()),
        }
    }

    fn members(&mut self, mut parsed: Parsed) -> Result<Parsed> {
        loop {
            if self.takes(".") {
                let name = self.name()?;
                parsed = if self.takes("(") {
                    match comprehension(&name) {
                        Some(kind) => self.comprehension(kind, parsed)?,
                        None => self.call(&name, Some(parsed))?,
                    }
                } else {
                    Parsed::above(parsed.depth, Expression::Member(parsed.boxed(), name))?
                };
            } else if self.takes("[") {
                let index = self.choice()?;
                self.expect("]")?;
                let depth = parsed.depth.max(index.depth);
                parsed = Parsed::above(depth, Expression::Index(parsed.boxed(), index.boxed()))?;
            } else {
                return Ok(parsed);
            }
        }
    }

    fn has(&mut self) -> Result<Parsed> {
        let inner = self.choice()?;
        self.expect(")")?;
        let expression = match inner.expression {
            Expression::Fact(fact) => Expression::HasFact(fact),
            Expression::Member(of, name) => Expression::HasMember(of, name),
            _ => return Err("`has` asks for a member, as in has(input.name)".to_owned()),
        };
        Ok(Parsed { expression, depth: inner.depth })
    }

    fn comprehension(&mut self, kind: Macro, range: Parsed) -> Result<Parsed> {
        let variable = self.name()?;
        self.expect(",")?;
        self.variables.push(variable);
        let body = self.choice()?;
        self.variables.pop();
        self.expect(")")?;
        let depth = range.depth.max(body.depth);
        Parsed::above(depth, Expression::Loop(kind, range.boxed(), body.boxed()))
    }

    fn call(&mut self, name: &str, receiver: Option<Parsed>) -> Result<Parsed> {
        const FUNCTIONS: [(&str, Function, bool, usize); 8] = [
            ("size", Function::Size, false, 1),
            ("size", Function::Size, true, 1),
            ("contains", Function::Contains, true, 2),
            ("startsWith", Function::StartsWith, true, 2),
            ("endsWith", Function::EndsWith, true, 2),
            ("int", Function::Int, false, 1),
            ("double", Function::Double, false, 1),
            ("string", Function::Text, false, 1),
        ];
        let is_method = receiver.is_some();
        let (mut arguments, mut depth) = (Vec::new(), 0);
        if let Some(receiver) = receiver {
            depth = receiver.depth;
            arguments.push(receiver.expression);
        }
        let (rest, deepest) = self.list(")")?;
        arguments.extend(rest);
        let known = FUNCTIONS.iter().find(|known| known.0 == name && known.2 == is_method);
        let Some((_, function, _, count)) = known else {
            return Err(unknown(name, "there is no such function", &FUNCTIONS.map(|known| known.0)));
        };
        if arguments.len() != *count {
            let given = arguments.len() - usize::from(is_method);
            return Err(format!("`{name}` takes {} values, not {given}", count - usize::from(is_method)));
        }
        Parsed::above(depth.max(deepest), Expression::Call(*function, arguments))
    }
}

fn comprehension(name: &str) -> Option<Macro> {
    Some(match name {
        "all" => Macro::All,
        "exists" => Macro::Exists,
        "exists_one" => Macro::ExistsOne,
        "filter" => Macro::Filter,
        "map" => Macro::Map,
        _ => return None,
    })
}

fn unknown(name: &str, rule: &str, known: &[&str]) -> String {
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("the name `{name}` is unknown; did you mean `{near}`?"),
        None => format!("the name `{name}` is unknown: {rule}"),
    }
}

fn out_of_range(number: u64) -> String {
    format!("{number} is no 64-bit integer")
}
