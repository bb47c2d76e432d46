//! Where bound values come from, and how they are written into arguments.

use bytes::Bytes;
use taskport_abstraction::backend::StepState;
use taskport_abstraction::workflow::{Binding, Condition, FAN_OUT_MAX, Fact, Path, Source};
use taskport_abstraction::{Error, ErrorKind, Payload, Result, StepId};

use super::json::{Document, Elements, NotJson, follow, kind};
use super::plan::Plan;
use super::run::Step;
use super::template::{List, Template, push};

/// The largest number of bytes of one bound value.
pub const BOUND_BYTES_MAX: usize = 64 << 20;
/// How many results of a fan-out are read at once.
const RESULTS_PAGE_LEN: u32 = 64;

/// The values a run works on, wherever they are stored.
pub trait Values {
    /// The run's input.
    ///
    /// # Errors
    /// Those of the store.
    fn input(&mut self) -> Result<Payload>;

    /// The results `from .. from + count` of the step at `step` in the definition, in the order of its list; `None`
    /// for each that has none. A step without a list has one, at 0.
    ///
    /// # Errors
    /// Those of the store.
    fn results(&mut self, step: usize, from: u32, count: u32) -> Result<Vec<Option<Payload>>>;
}

/// Why a value cannot be had.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The store failed: nothing can be said about the run.
    Store(Error),
    /// The definition does not fit the values: the step fails with this message.
    Misfit(String),
}

impl From<Error> for Trouble {
    /// A value that is there and cannot be read is the run's trouble, not the store's: asking again would not help.
    fn from(error: Error) -> Self {
        if error.kind() == ErrorKind::Corrupt { Self::Misfit(error.to_string()) } else { Self::Store(error) }
    }
}

/// What is found at a path.
#[derive(Debug)]
pub(super) enum Answer {
    Value(Bytes),
    /// The step was skipped or failed.
    NoResult,
    NoSuchPath,
}

pub(super) const NULL: Bytes = Bytes::from_static(b"null");

impl Answer {
    fn at_path(found: Option<Bytes>) -> Self {
        found.map_or(Self::NoSuchPath, Self::Value)
    }

    pub(super) fn or_null(self) -> Bytes {
        match self {
            Self::Value(json) => json,
            Self::NoResult | Self::NoSuchPath => NULL,
        }
    }
}

pub(super) type Found<T> = std::result::Result<T, Trouble>;

pub(super) fn misfit<T>(message: String) -> Found<T> {
    Err(Trouble::Misfit(message))
}

/// Reads the values of one run.
pub(super) struct Lookup<'a, V: Values> {
    pub(super) plan: &'a Plan,
    pub(super) steps: &'a [Step],
    pub(super) input: &'a mut Option<Document>,
    pub(super) values: &'a mut V,
}

impl<V: Values> Lookup<'_, V> {
    /// The value of a source other than `$item` and `$index`, where a step without a result has `null` at every path.
    pub(super) fn value(&mut self, source: &Source, path: &Path) -> Found<Bytes> {
        let (found, name) = match source {
            Source::Step(step) => (self.output(step, path)?, format!("$steps.{step}.output{path}")),
            _ => (self.input(path)?, format!("$input{path}")),
        };
        match found {
            Answer::Value(json) => Ok(json),
            Answer::NoResult => Ok(NULL),
            Answer::NoSuchPath => misfit(format!("there is no `{name}`")),
        }
    }

    /// A value inside the input.
    pub(super) fn input(&mut self, path: &Path) -> Found<Answer> {
        let document = match &mut *self.input {
            Some(document) => document,
            empty => {
                let payload = self.values.input()?;
                let document = json_of(&payload).and_then(|bytes| Document::new(bytes).ok());
                match document {
                    Some(document) => empty.insert(document),
                    None => return misfit("the input is not JSON".to_owned()),
                }
            }
        };
        match document.follow(path.keys()) {
            Ok(found) => Ok(Answer::at_path(found)),
            Err(NotJson) => misfit("the input is not JSON".to_owned()),
        }
    }

    /// A value inside the result of a step.
    pub(super) fn output(&mut self, step: &StepId, path: &Path) -> Found<Answer> {
        match self.plan.place(step) {
            Some(place) if self.has_list_output(place) => self.list_output(place, step, path),
            Some(place) if !self.plan.is_fan_out(place) && self.steps[place].facts.succeeded > 0 => {
                self.result(place, 0, path.keys(), step)
            }
            _ => Ok(Answer::NoResult),
        }
    }

    /// Whether a step is a fan-out that came as far as its list.
    fn has_list_output(&self, place: usize) -> bool {
        let facts = &self.steps[place].facts;
        self.plan.is_fan_out(place) && (facts.total > 0 || facts.state == StepState::Succeeded)
    }

    fn list_output(&mut self, place: usize, step: &StepId, path: &Path) -> Found<Answer> {
        let len = self.steps[place].facts.total;
        let mut keys = path.keys();
        let Some(first) = keys.next() else { return self.all_results(place, len, step).map(Answer::Value) };
        match first.parse::<u32>() {
            Ok(index) if index < len => self.result(place, index, keys, step),
            _ => Ok(Answer::NoSuchPath),
        }
    }

    fn result<'k>(
        &mut self,
        place: usize,
        index: u32,
        keys: impl IntoIterator<Item = &'k str>,
        step: &StepId,
    ) -> Found<Answer> {
        match self.values.results(place, index, 1)?.into_iter().next().flatten() {
            Some(payload) => inside(&payload, keys, step),
            None => Ok(Answer::NoResult),
        }
    }

    fn all_results(&mut self, place: usize, len: u32, step: &StepId) -> Found<Bytes> {
        let mut out = vec![b'['];
        let mut from = 0;
        while from < len {
            let count = RESULTS_PAGE_LEN.min(len - from);
            let page = self.values.results(place, from, count)?;
            for result in page.into_iter().chain(std::iter::repeat(None)).take(count as usize) {
                if out.len() > 1 {
                    out.push(b',');
                }
                let json = match result {
                    Some(payload) => inside(&payload, [], step)?.or_null(),
                    None => NULL,
                };
                push(&mut out, &json)?;
            }
            from += count;
        }
        out.push(b']');
        Ok(Bytes::from(out))
    }

    /// Whether the condition of a step holds.
    pub(super) fn holds(&mut self, condition: &Condition) -> Found<bool> {
        let mut known = Vec::with_capacity(condition.facts().len());
        for fact in condition.facts() {
            let answer = match fact {
                Fact::Input(path) => self.input(path)?,
                Fact::Output(step, path) => match self.output(step, path)? {
                    Answer::NoResult if path.is_empty() => Answer::Value(NULL),
                    answer => answer,
                },
                Fact::State(step) => {
                    let state = self.plan.place(step).map(|place| self.steps[place].facts.state);
                    Answer::at_path(serde_json::to_vec(&state).ok().map(Bytes::from))
                }
            };
            known.push(match answer {
                Answer::Value(json) => match serde_json::from_slice(&json) {
                    Ok(value) => Some(value),
                    Err(_) => return misfit(format!("`{fact}` is not JSON")),
                },
                Answer::NoResult | Answer::NoSuchPath => None,
            });
        }
        condition.holds(&known).or_else(|message| misfit(format!("`when`: {message}")))
    }

    /// The list of a fan-out.
    pub(super) fn list(&mut self, binding: &Binding) -> Found<List> {
        if let Binding::From(Source::Step(step), path) = binding
            && path.is_empty()
            && let Some(place) = self.plan.place(step)
            && self.has_list_output(place)
        {
            return Ok(List::Results { place, step: step.clone(), len: self.steps[place].facts.total });
        }
        let json = match binding {
            Binding::From(source, path) => self.value(source, path)?,
            other => self.template(other)?.fill(0, None)?,
        };
        let sort = kind(&json);
        match Elements::split(json) {
            Ok(Some(elements)) if elements.len() <= FAN_OUT_MAX => Ok(List::Elements(elements)),
            Ok(Some(elements)) => misfit(format!(
                "its list has {} elements, more than the largest number, {FAN_OUT_MAX}",
                elements.len()
            )),
            Ok(None) => misfit(format!("its `map` is {sort}, not a list")),
            Err(NotJson) => misfit("its list is not JSON".to_owned()),
        }
    }

    /// One element of a list.
    pub(super) fn element(&mut self, list: &List, index: u32) -> Found<Bytes> {
        match list {
            List::Elements(elements) => Ok(elements.get(index as usize)),
            List::Results { place, step, .. } => Ok(self.result(*place, index, [], step)?.or_null()),
        }
    }

    /// A binding with everything filled in that is the same for all elements of a list.
    pub(super) fn template(&mut self, binding: &Binding) -> Found<Template> {
        let mut template = Template::default();
        self.write(binding, &mut template)?;
        Ok(template)
    }

    /// The arguments document of a step.
    pub(super) fn arguments(&mut self, binding: &Binding) -> Found<Template> {
        let named = matches!(binding, Binding::Object(_));
        let mut template = Template::default();
        template.text.extend_from_slice(if named { b"[[]," } else { b"[" });
        self.write(binding, &mut template)?;
        template.text.extend_from_slice(if named { b"]" } else { b",{}]" });
        Ok(template)
    }

    fn write(&mut self, binding: &Binding, template: &mut Template) -> Found<()> {
        match binding {
            Binding::Literal(value) => push(&mut template.text, value.to_string().as_bytes()),
            Binding::From(Source::Item, path) => {
                template.cut(Some(path.clone()));
                Ok(())
            }
            Binding::From(Source::Index, _) => {
                template.cut(None);
                Ok(())
            }
            Binding::From(source, path) => push(&mut template.text, &self.value(source, path)?),
            Binding::List(parts) => {
                template.text.push(b'[');
                for (at, part) in parts.iter().enumerate() {
                    if at > 0 {
                        template.text.push(b',');
                    }
                    self.write(part, template)?;
                }
                template.text.push(b']');
                Ok(())
            }
            Binding::Object(parts) => {
                template.text.push(b'{');
                for (at, (key, part)) in parts.iter().enumerate() {
                    if at > 0 {
                        template.text.push(b',');
                    }
                    template
                        .text
                        .extend_from_slice(serde_json::Value::from(key.as_str()).to_string().as_bytes());
                    template.text.push(b':');
                    self.write(part, template)?;
                }
                template.text.push(b'}');
                Ok(())
            }
        }
    }
}

fn json_of(payload: &Payload) -> Option<Bytes> {
    payload.as_json().ok().map(|_| payload.bytes.clone())
}

fn inside<'k>(payload: &Payload, keys: impl IntoIterator<Item = &'k str>, step: &StepId) -> Found<Answer> {
    let found = json_of(payload).and_then(|json| {
        let found = follow(&json, keys).ok()?;
        Some(Answer::at_path(found.map(|found| json.slice_ref(found))))
    });
    found.ok_or_else(|| Trouble::Misfit(format!("the result of step `{step}` is not JSON")))
}
