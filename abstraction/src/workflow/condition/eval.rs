//! The value of a checked expression.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Map, Number, Value, json};

use super::{CONDITION_WORK_MAX, Expression, Fact, Function, Macro, Operator};

pub(super) struct Evaluation<'a> {
    facts: &'a [Fact],
    known: &'a [Option<Value>],
    variables: Vec<Value>,
    work_left: u32,
}

type Found<'a> = Result<Cow<'a, Value>, String>;

impl<'a> Evaluation<'a> {
    pub(super) fn new(facts: &'a [Fact], known: &'a [Option<Value>]) -> Self {
        Self { facts, known, variables: Vec::new(), work_left: CONDITION_WORK_MAX }
    }

    pub(super) fn run(mut self, root: &'a Expression) -> Result<bool, String> {
        match self.value(root)?.as_ref() {
            Value::Bool(holds) => Ok(*holds),
            other => Err(format!("a condition is true or false, and this one is {}", kind(other))),
        }
    }

    fn work(&mut self, amount: usize) -> Result<(), String> {
        let amount = u32::try_from(amount).unwrap_or(u32::MAX);
        self.work_left = self
            .work_left
            .checked_sub(amount)
            .ok_or_else(|| format!("the condition takes more than {CONDITION_WORK_MAX} operations"))?;
        Ok(())
    }

    fn value(&mut self, expression: &'a Expression) -> Found<'a> {
        self.work(1)?;
        match expression {
            Expression::Literal(value) => Ok(Cow::Borrowed(value)),
            Expression::Fact(place) => match self.fact(*place) {
                Some(value) => Ok(Cow::Borrowed(value)),
                None => Err(format!("there is no `{}`", self.facts[*place])),
            },
            Expression::HasFact(place) => Ok(truth(self.fact(*place).is_some())),
            Expression::Variable(place) => {
                let value = self.variables.get(*place).cloned().unwrap_or_default();
                self.work(breadth(&value))?;
                Ok(Cow::Owned(value))
            }
            Expression::Member(of, name) => {
                let of = self.value(of)?;
                member(of, name)?.ok_or_else(|| format!("there is no member `{name}`"))
            }
            Expression::HasMember(of, name) => {
                let of = self.value(of)?;
                Ok(truth(member(of, name)?.is_some()))
            }
            Expression::Index(of, index) => {
                let (of, index) = (self.value(of)?, self.value(index)?);
                element(of, &index)
            }
            Expression::Not(inner) => Ok(truth(!self.bool(inner)?)),
            Expression::Negate(inner) => negate(&*self.value(inner)?).map(Cow::Owned),
            Expression::All(parts) => self.connect(parts, false).map(truth),
            Expression::Any(parts) => self.connect(parts, true).map(truth),
            Expression::Binary(operator, left, right) => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                self.work(breadth(&left).saturating_add(breadth(&right)))?;
                binary(*operator, &left, &right).map(Cow::Owned)
            }
            Expression::Choice(parts) => {
                let [condition, yes, no] = parts.as_ref();
                if self.bool(condition)? { self.value(yes) } else { self.value(no) }
            }
            Expression::List(items) => {
                let items = items.iter().map(|item| Ok(self.value(item)?.into_owned()));
                Ok(Cow::Owned(Value::Array(items.collect::<Result<_, String>>()?)))
            }
            Expression::Map(entries) => self.map(entries),
            Expression::Call(function, arguments) => self.call(*function, arguments),
            Expression::Loop(kind, range, body) => self.repeat(*kind, range, body),
        }
    }

    fn fact(&self, place: usize) -> Option<&'a Value> {
        self.known.get(place)?.as_ref()
    }

    fn bool(&mut self, expression: &'a Expression) -> Result<bool, String> {
        match self.value(expression)?.as_ref() {
            Value::Bool(value) => Ok(*value),
            other => Err(format!("{} is used as true or false", kind(other))),
        }
    }

    /// `&&` and `||`: a part that decides wins over one that fails, in whatever order they stand.
    fn connect(&mut self, parts: &'a [Expression], decides: bool) -> Result<bool, String> {
        let mut problem = None;
        for part in parts {
            match self.bool(part) {
                Ok(value) if value == decides => return Ok(decides),
                Ok(_) => {}
                Err(message) => problem = problem.or(Some(message)),
            }
        }
        problem.map_or(Ok(!decides), Err)
    }

    fn map(&mut self, entries: &'a [(Expression, Expression)]) -> Found<'a> {
        let mut map = Map::new();
        for (key, value) in entries {
            let Value::String(key) = self.value(key)?.into_owned() else {
                return Err("a map has keys that are text".to_owned());
            };
            if map.insert(key.clone(), self.value(value)?.into_owned()).is_some() {
                return Err(format!("a map has the key `{key}` twice"));
            }
        }
        Ok(Cow::Owned(Value::Object(map)))
    }

    fn call(&mut self, function: Function, arguments: &'a [Expression]) -> Found<'a> {
        let first = self.value(&arguments[0])?;
        let second = arguments.get(1).map(|second| self.value(second)).transpose()?;
        self.work(breadth(&first))?;
        let result = match (function, first.as_ref(), second.as_deref()) {
            (Function::Size, Value::String(text), _) => json!(text.chars().count()),
            (Function::Size, Value::Array(list), _) => json!(list.len()),
            (Function::Size, Value::Object(map), _) => json!(map.len()),
            (Function::Contains, Value::String(text), Some(Value::String(part))) => {
                json!(text.contains(part))
            }
            (Function::StartsWith, Value::String(text), Some(Value::String(part))) => {
                json!(text.starts_with(part))
            }
            (Function::EndsWith, Value::String(text), Some(Value::String(part))) => {
                json!(text.ends_with(part))
            }
            (Function::Int, value, _) => json!(to_int(value)?),
            (Function::Double, value, _) => double(to_double(value)?)?,
            (Function::Text, Value::String(text), _) => json!(text),
            (Function::Text, value @ (Value::Number(_) | Value::Bool(_)), _) => json!(value.to_string()),
            (_, value, _) => return Err(format!("the function does not fit {}", kind(value))),
        };
        Ok(Cow::Owned(result))
    }

    fn repeat(&mut self, kind_: Macro, range: &'a Expression, body: &'a Expression) -> Found<'a> {
        let items: Vec<Value> = match self.value(range)?.into_owned() {
            Value::Array(items) => items,
            Value::Object(map) => map.into_iter().map(|(key, _)| Value::String(key)).collect(),
            other => return Err(format!("a macro walks a list or a map, not {}", kind(&other))),
        };
        let (mut count, mut kept, mut problem) = (0_usize, Vec::new(), None);
        for item in items {
            self.work(1)?;
            self.variables.push(item);
            let found = self.value(body).map(Cow::into_owned);
            let item = self.variables.pop().unwrap_or_default();
            match (kind_, found) {
                (Macro::Map, Ok(value)) => kept.push(value),
                (Macro::All, Ok(Value::Bool(false))) => return Ok(truth(false)),
                (Macro::Exists, Ok(Value::Bool(true))) => return Ok(truth(true)),
                (Macro::Filter, Ok(Value::Bool(true))) => kept.push(item),
                (_, Ok(Value::Bool(holds))) => count += usize::from(holds),
                (Macro::All | Macro::Exists, Err(message)) => problem = problem.or(Some(message)),
                (_, Err(message)) => return Err(message),
                (_, Ok(other)) => return Err(format!("{} is used as true or false", kind(&other))),
            }
        }
        match (kind_, problem) {
            (_, Some(message)) => Err(message),
            (Macro::All, None) => Ok(truth(true)),
            (Macro::Exists, None) => Ok(truth(false)),
            (Macro::ExistsOne, None) => Ok(truth(count == 1)),
            (Macro::Filter | Macro::Map, None) => Ok(Cow::Owned(Value::Array(kept))),
        }
    }
}

fn truth<'a>(value: bool) -> Cow<'a, Value> {
    Cow::Owned(Value::Bool(value))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(number) if number.is_f64() => "a double",
        Value::Number(_) => "an integer",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

/// How much work it is to look at a value once.
fn breadth(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() / 64,
        Value::Array(list) => list.len(),
        Value::Object(map) => map.len(),
        _ => 0,
    }
}

fn member<'a>(of: Cow<'a, Value>, name: &str) -> Result<Option<Cow<'a, Value>>, String> {
    match of {
        Cow::Borrowed(Value::Object(map)) => Ok(map.get(name).map(Cow::Borrowed)),
        Cow::Owned(Value::Object(mut map)) => Ok(map.remove(name).map(Cow::Owned)),
        other => Err(format!("{} has no member `{name}`", kind(&other))),
    }
}

fn element<'a>(of: Cow<'a, Value>, index: &Value) -> Found<'a> {
    if let Value::String(name) = index {
        return member(of, name)?.ok_or_else(|| format!("there is no member `{name}`"));
    }
    let outside = || format!("the list has no element {index}");
    let place = || index.as_u64().and_then(|place| usize::try_from(place).ok()).ok_or_else(outside);
    match of {
        Cow::Borrowed(Value::Array(list)) => list.get(place()?).map(Cow::Borrowed).ok_or_else(outside),
        Cow::Owned(Value::Array(mut list)) => {
            let place = place()?;
            if place < list.len() { Ok(Cow::Owned(list.swap_remove(place))) } else { Err(outside()) }
        }
        other => Err(format!("{} has no element {index}", kind(&other))),
    }
}

fn negate(value: &Value) -> Result<Value, String> {
    match value.as_i64() {
        Some(number) => number.checked_neg().map(|number| json!(number)).ok_or_else(overflow),
        None => match value {
            Value::Number(number) if number.is_f64() => double(-number.as_f64().unwrap_or_default()),
            other => Err(format!("{} has no negative", kind(other))),
        },
    }
}

fn binary(operator: Operator, left: &Value, right: &Value) -> Result<Value, String> {
    use Operator::*;
    Ok(json!(match operator {
        Equal => equal(left, right),
        NotEqual => !equal(left, right),
        Less => order(left, right)?.is_lt(),
        LessEqual => order(left, right)?.is_le(),
        Greater => order(left, right)?.is_gt(),
        GreaterEqual => order(left, right)?.is_ge(),
        In => match (left, right) {
            (_, Value::Array(list)) => list.iter().any(|item| equal(item, left)),
            (Value::String(key), Value::Object(map)) => map.contains_key(key),
            (_, Value::Object(_)) => false,
            (_, other) => return Err(format!("`in` looks into a list or a map, not {}", kind(other))),
        },
        Add | Subtract | Multiply | Divide | Remainder => return arithmetic(operator, left, right),
    }))
}

/// Numbers are equal by value, whatever their type; values of different types are not equal.
fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => compare(left, right) == Some(Ordering::Equal),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| equal(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(key, left)| right.get(key).is_some_and(|right| equal(left, right)))
        }
        _ => left == right,
    }
}

fn order(left: &Value, right: &Value) -> Result<Ordering, String> {
    let found = match (left, right) {
        (Value::Number(left), Value::Number(right)) => compare(left, right),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        _ => None,
    };
    found.ok_or_else(|| format!("{} cannot be compared with {}", kind(left), kind(right)))
}

fn compare(left: &Number, right: &Number) -> Option<Ordering> {
    match (left.as_i128(), right.as_i128()) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        (Some(left), None) => compare_mixed(left, right.as_f64()?),
        (None, Some(right)) => compare_mixed(right, left.as_f64()?).map(Ordering::reverse),
        (None, None) => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}

/// Compares without rounding the integer to a double.
fn compare_mixed(integer: i128, double: f64) -> Option<Ordering> {
    let whole = double.trunc();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "saturates, and every 64-bit integer is far from the ends"
    )]
    let order = integer.cmp(&(whole as i128));
    Some(order.then(0.0_f64.partial_cmp(&(double - whole))?))
}

fn arithmetic(operator: Operator, left: &Value, right: &Value) -> Result<Value, String> {
    use Operator::*;
    match (operator, left, right) {
        (Add, Value::String(left), Value::String(right)) => return Ok(json!(format!("{left}{right}"))),
        (Add, Value::Array(left), Value::Array(right)) => {
            return Ok(Value::Array(left.iter().chain(right).cloned().collect()));
        }
        _ => {}
    }
    if let (Some(left), Some(right)) = (left.as_i64(), right.as_i64()) {
        if right == 0 && matches!(operator, Divide | Remainder) {
            return Err("division by zero".to_owned());
        }
        let result = match operator {
            Add => left.checked_add(right),
            Subtract => left.checked_sub(right),
            Multiply => left.checked_mul(right),
            Divide => left.checked_div(right),
            _ => left.checked_rem(right),
        };
        return result.map(|result| json!(result)).ok_or_else(overflow);
    }
    if left.is_f64() && right.is_f64() && operator != Remainder {
        let (left, right) = (left.as_f64().unwrap_or_default(), right.as_f64().unwrap_or_default());
        return double(match operator {
            Add => left + right,
            Subtract => left - right,
            Multiply => left * right,
            _ => left / right,
        });
    }
    Err(format!(
        "no arithmetic joins {} and {}; int(…) or double(…) makes them alike",
        kind(left),
        kind(right)
    ))
}

fn overflow() -> String {
    "a number is beyond 64 bits".to_owned()
}

fn double(number: f64) -> Result<Value, String> {
    Number::from_f64(number)
        .map(Value::Number)
        .ok_or_else(|| "a number is beyond what a double holds".to_owned())
}

fn to_int(value: &Value) -> Result<i64, String> {
    let found = match value {
        Value::Number(number) => number.as_i64().or_else(|| {
            let whole = number.as_f64()?.trunc();
            #[expect(clippy::cast_possible_truncation, reason = "the range is checked on this line")]
            (-9.2e18..=9.2e18).contains(&whole).then_some(whole as i64)
        }),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    found.ok_or_else(|| format!("{} is no integer", kind(value)))
}

fn to_double(value: &Value) -> Result<f64, String> {
    let found = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    found.ok_or_else(|| format!("{} is no double", kind(value)))
}
