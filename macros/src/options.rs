//! The options in the parentheses of `#[task(…)]`, checked as far as they can be without the function.

use std::fmt::Display;
use std::time::Duration;

use proc_macro2::{Span, TokenStream};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Error, Ident, Lit, Result, Token};
use taskport_abstraction::options::{Priority, TAGS_MAX, TEXT_BYTES_MAX};
use taskport_abstraction::text::{nearest, parse_duration};
use taskport_abstraction::{Backoff, QueueName, TaskName};

use crate::function::Function;

/// Every option that was given.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) name: Option<Given<TaskName>>,
    pub(crate) queue: Option<Given<QueueName>>,
    pub(crate) priority: Option<Given<Priority>>,
    pub(crate) max_attempts: Option<Given<u32>>,
    pub(crate) backoff: Option<Given<Backoff>>,
    pub(crate) max_age: Option<Given<Duration>>,
    pub(crate) timeout: Option<Given<Duration>>,
    pub(crate) soft_timeout: Option<Given<Duration>>,
    pub(crate) concurrency: Option<Given<u32>>,
    pub(crate) rate_limit: Option<Given<(u32, Duration)>>,
    pub(crate) tags: Vec<String>,
    pub(crate) blocking: Option<Given<()>>,
    pub(crate) isolated: Option<Given<()>>,
    pub(crate) remote: Option<Given<()>>,
    pub(crate) idempotent: Option<Given<()>>,
    pub(crate) detach_on_timeout: Option<Given<()>>,
}

/// The value of an option, and where it stands.
pub(crate) struct Given<T> {
    pub(crate) value: T,
    span: Span,
}

const NAMES: [&str; 16] = [
    "name",
    "queue",
    "priority",
    "max_attempts",
    "backoff",
    "max_age",
    "timeout",
    "soft_timeout",
    "concurrency",
    "rate_limit",
    "tags",
    "blocking",
    "isolated",
    "remote",
    "idempotent",
    "detach_on_timeout",
];

impl Options {
    pub(crate) fn parse(tokens: TokenStream) -> Result<Self> {
        let written = Punctuated::<Written, Token![,]>::parse_terminated.parse2(tokens)?;
        let mut options = Self::default();
        let mut problems = Problems::default();
        let mut seen: Vec<String> = Vec::new();
        for option in &written {
            let name = option.name.unraw().to_string();
            if seen.contains(&name) {
                problems.add(option.name.span(), format!("`{name}` is given twice"));
            }
            problems.note(options.set(&name, option));
            seen.push(name);
        }
        options.check_each_other(&mut problems);
        problems.into_result(options)
    }

    fn set(&mut self, name: &str, option: &Written) -> Result<()> {
        match name {
            "name" => self.name = Some(option.text(r#""billing.charge""#, checked(TaskName::new))?),
            "queue" => self.queue = Some(option.text(r#""reports""#, checked(QueueName::new))?),
            "priority" => self.priority = Some(option.priority()?),
            "max_attempts" => self.max_attempts = Some(option.attempts()?),
            "backoff" => {
                self.backoff = Some(option.text(r#""exponential(1s, max 5m, jitter)""#, str::parse)?)
            }
            "max_age" => self.max_age = Some(option.text(r#""1h""#, positive_duration)?),
            "timeout" => self.timeout = Some(option.text(r#""30s""#, positive_duration)?),
            "soft_timeout" => self.soft_timeout = Some(option.text(r#""25s""#, positive_duration)?),
            "concurrency" => self.concurrency = Some(option.slots()?),
            "rate_limit" => self.rate_limit = Some(option.text(r#""100/1m""#, rate)?),
            "tags" => self.tags = option.tags()?,
            "blocking" => self.blocking = Some(option.flag()?),
            "isolated" => self.isolated = Some(option.flag()?),
            "remote" => self.remote = Some(option.flag()?),
            "idempotent" => self.idempotent = Some(option.flag()?),
            "detach_on_timeout" => self.detach_on_timeout = Some(option.flag()?),
            unknown => {
                let remedy = match nearest(unknown, NAMES) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("the options are: {}", NAMES.join(", ")),
                };
                return Err(Error::new(option.name.span(), format!("unknown option `{unknown}`; {remedy}")));
            }
        }
        Ok(())
    }

    fn check_each_other(&self, problems: &mut Problems) {
        if let (Some(soft), Some(hard)) = (&self.soft_timeout, &self.timeout)
            && soft.value > hard.value
        {
            problems.add(soft.span, "the soft timeout is longer than `timeout`");
        }
        if self.max_attempts.as_ref().is_some_and(|attempts| attempts.value == 1) {
            let unused = [self.backoff.as_ref().map(|o| o.span), self.max_age.as_ref().map(|o| o.span)];
            for span in unused.into_iter().flatten() {
                problems.add(span, "`max_attempts = 1` never tries again, so this is never used");
            }
        }
        if let (Some(blocking), Some(_), None) = (&self.blocking, &self.isolated, &self.remote) {
            problems.add(blocking.span, "an `isolated` task has a process of its own; leave `blocking` out");
        }
        if self.remote.is_some() {
            for (flag, name) in [
                (&self.blocking, "blocking"),
                (&self.isolated, "isolated"),
                (&self.detach_on_timeout, "detach_on_timeout"),
            ] {
                if let Some(flag) = flag {
                    problems.add(flag.span, format!("a `remote` task is run elsewhere; leave `{name}` out"));
                }
            }
        }
    }

    /// Checks the options that depend on what the function is.
    pub(crate) fn check_against(&self, function: &Function) -> Result<()> {
        let mut problems = Problems::default();
        match (&self.remote, &function.body) {
            (Some(_), Some(body)) => problems.add(
                body.span_open(),
                "a `remote` task is implemented elsewhere: write `;` in place of the body",
            ),
            (None, None) => problems.add(
                function.signature.ident.span(),
                "a task without a body is implemented elsewhere: write `#[task(remote)]`",
            ),
            _ => {}
        }
        if self.remote.is_some() {
            function.check_remote(&mut problems);
        } else {
            self.check_limits(function.signature.asyncness.is_some(), &mut problems);
        }
        problems.into_result(())
    }

    /// A thread cannot be stopped, and a plain function on the runtime holds one.
    fn check_limits(&self, is_async: bool, problems: &mut Problems) {
        if let (Some(blocking), true) = (&self.blocking, is_async) {
            problems.add(blocking.span, "`blocking` is for a plain `fn`; an `async fn` must not block");
        }
        if let (Some(detach), None) = (&self.detach_on_timeout, &self.blocking) {
            problems
                .add(detach.span, "`detach_on_timeout` leaves a thread behind; it is for `blocking` tasks");
        }
        let stoppable = is_async || self.isolated.is_some() || self.detach_on_timeout.is_some();
        if let (Some(timeout), false) = (&self.timeout, stoppable) {
            let remedy = "use `isolated`, `soft_timeout`, or `blocking` with `detach_on_timeout`";
            problems.add(timeout.span, format!("a plain function cannot be stopped on its thread; {remedy}"));
        }
    }
}

/// One option as it is written.
struct Written {
    name: Ident,
    value: Value,
}

enum Value {
    Flag,
    Literal(Lit),
    List(Span, Vec<Lit>),
}

impl Parse for Written {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let name = input.call(Ident::parse_any)?;
        if input.parse::<Option<Token![=]>>()?.is_none() {
            return Ok(Self { name, value: Value::Flag });
        }
        if !input.peek(syn::token::Bracket) {
            return Ok(Self { name, value: Value::Literal(input.parse()?) });
        }
        let content;
        let brackets = syn::bracketed!(content in input);
        let list = Punctuated::<Lit, Token![,]>::parse_terminated(&content)?;
        let value = Value::List(brackets.span.join(), list.into_iter().collect());
        Ok(Self { name, value })
    }
}

impl Written {
    fn text<T, E: Display>(
        &self,
        example: &str,
        parse: impl FnOnce(&str) -> std::result::Result<T, E>,
    ) -> Result<Given<T>> {
        let Value::Literal(Lit::Str(text)) = &self.value else { return Err(self.expected(example)) };
        let span = text.span();
        match parse(&text.value()) {
            Ok(value) => Ok(Given { value, span }),
            Err(message) => Err(Error::new(span, message)),
        }
    }

    fn priority(&self) -> Result<Given<Priority>> {
        self.number("7", |level: u8| Priority::new(level).ok(), "the priority is not within 0 to 9")
    }

    fn attempts(&self) -> Result<Given<u32>> {
        let at_least_one = |attempts| (attempts > 0).then_some(attempts);
        self.number("5", at_least_one, "the number of attempts is not within 1 to 4294967295")
    }

    fn slots(&self) -> Result<Given<u32>> {
        let at_least_one = |slots| (slots > 0).then_some(slots);
        self.number("2", at_least_one, "the number of jobs at once is not within 1 to 4294967295")
    }

    fn number<N: std::str::FromStr, T>(
        &self,
        example: &str,
        check: impl FnOnce(N) -> Option<T>,
        otherwise: &str,
    ) -> Result<Given<T>>
    where
        N::Err: Display,
    {
        let Value::Literal(Lit::Int(number)) = &self.value else { return Err(self.expected(example)) };
        match number.base10_parse().ok().and_then(check) {
            Some(value) => Ok(Given { value, span: number.span() }),
            None => Err(Error::new(number.span(), otherwise)),
        }
    }

    fn flag(&self) -> Result<Given<()>> {
        match &self.value {
            Value::Flag => Ok(Given { value: (), span: self.name.span() }),
            _ => Err(Error::new(
                self.value.span(&self.name),
                format!("`{}` is switched on by its name alone, without a value", self.name),
            )),
        }
    }

    fn tags(&self) -> Result<Vec<String>> {
        let example = r#"["nightly"]"#;
        let Value::List(span, list) = &self.value else { return Err(self.expected(example)) };
        if list.len() > TAGS_MAX {
            return Err(Error::new(*span, format!("a task has at most {TAGS_MAX} tags")));
        }
        let tag = |tag: &Lit| {
            let Lit::Str(text) = tag else { return Err(self.expected(example)) };
            match text.value() {
                tag if tag.is_empty() || tag.len() > TEXT_BYTES_MAX => {
                    Err(Error::new(text.span(), format!("a tag has 1 to {TEXT_BYTES_MAX} bytes")))
                }
                tag => Ok(tag),
            }
        };
        list.iter().map(tag).collect()
    }

    fn expected(&self, example: &str) -> Error {
        let name = &self.name;
        Error::new(self.value.span(name), format!("`{name}` is written as `{name} = {example}`"))
    }
}

impl Value {
    fn span(&self, name: &Ident) -> Span {
        match self {
            Self::Flag => name.span(),
            Self::Literal(literal) => literal.span(),
            Self::List(span, _) => *span,
        }
    }
}

/// The check of a name, with its rule in the message.
fn checked<T>(
    new: impl FnOnce(String) -> std::result::Result<T, taskport_abstraction::Error>,
) -> impl FnOnce(&str) -> std::result::Result<T, String> {
    |text| {
        new(text.to_owned()).map_err(|error| match error.remedy() {
            Some(rule) => format!("{}: {rule}", error.message()),
            None => error.message().to_owned(),
        })
    }
}

fn positive_duration(text: &str) -> std::result::Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("a limit of zero lets nothing run".to_owned()),
        duration => Ok(duration),
    }
}

/// So many starts in a period, such as `100/1m` or `5/s`.
fn rate(text: &str) -> std::result::Result<(u32, Duration), String> {
    let malformed = || format!("`{text}` is not a rate such as 100/s, 20/m or 5/10m");
    let (count, period) = text.split_once('/').ok_or_else(malformed)?;
    let is_bare_unit = period.starts_with(|c: char| !c.is_ascii_digit());
    let period = if is_bare_unit { parse_duration(&format!("1{period}")) } else { parse_duration(period) };
    match (count.parse(), period) {
        (Ok(0), _) | (_, Ok(Duration::ZERO)) => Err("a limit of zero lets nothing run".to_owned()),
        (Ok(count), Ok(period)) => Ok((count, period)),
        _ => Err(malformed()),
    }
}

/// Gathers every mistake, so that one compilation shows them all.
#[derive(Default)]
pub(crate) struct Problems(Option<Error>);

impl Problems {
    pub(crate) fn add(&mut self, span: Span, message: impl Display) {
        self.push(Error::new(span, message));
    }

    pub(crate) fn note<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    fn push(&mut self, error: Error) {
        match &mut self.0 {
            Some(first) => first.combine(error),
            none => *none = Some(error),
        }
    }

    pub(crate) fn into_result<T>(self, value: T) -> Result<T> {
        match self.0 {
            Some(error) => Err(error),
            None => Ok(value),
        }
    }
}
