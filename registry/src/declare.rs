//! What `#[task]` expands to. Not for direct use: it follows the macro, without notice.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::OnceLock;
use std::time::Duration;

pub use inventory;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use taskport_abstraction::job::{Failure, FailureKind};
use taskport_abstraction::options::{ConcurrencyLimit, Priority, RateLimit};
use taskport_abstraction::task::{BoxFuture, Location};
use taskport_abstraction::typed::CallParts;
use taskport_abstraction::{
    ArgumentsBuilder, ArgumentsView, Backoff, Call, Error, IntoCall, Payload, QueueName, Result, RetryPolicy,
    TaskDefinition, TaskError, TaskName, TaskResult, WithOptions, codes,
};

/// A task that is linked into the program.
#[derive(Debug)]
pub struct Collected(fn() -> TaskDefinition);

inventory::collect!(Collected);

impl Collected {
    /// A task with this definition.
    pub const fn new(definition: fn() -> TaskDefinition) -> Self {
        Self(definition)
    }

    pub(crate) fn definition(&self) -> TaskDefinition {
        (self.0)()
    }
}

/// A name that is made once, since every call carries it.
#[derive(Debug)]
pub struct DeclaredName {
    text: &'static str,
    name: OnceLock<TaskName>,
}

impl DeclaredName {
    /// A name that the macro has checked.
    pub const fn new(text: &'static str) -> Self {
        Self { text, name: OnceLock::new() }
    }

    /// The name.
    pub fn get(&self) -> TaskName {
        self.name.get_or_init(|| task_name(self.text)).clone()
    }
}

/// A call of a task with defaults: arguments are set in any order and written in the declared one.
pub struct OpenCall<T, const N: usize> {
    task: TaskName,
    names: &'static [&'static str; N],
    values: [Option<Box<RawValue>>; N],
    parts: CallParts,
    output: PhantomData<fn() -> T>,
}

impl<T, const N: usize> OpenCall<T, N> {
    /// A call without arguments.
    pub fn new(task: TaskName, names: &'static [&'static str; N], parts: CallParts) -> Self {
        Self { task, names, values: [const { None }; N], parts, output: PhantomData }
    }

    /// Sets the argument of parameter `place`. A value without a JSON form is an error of the submit.
    #[must_use]
    pub fn with_argument<V: Serialize>(mut self, place: usize, value: &V) -> Self {
        let raw = to_raw_value(value).map_err(|source| {
            let message = format!("argument `{}` has no JSON form", self.names[place]);
            Error::new(&codes::BAD_ARGUMENTS, "encode", message).caused_by(source)
        });
        self.values[place] = self.parts.note(raw);
        self
    }
}

impl<T, const N: usize> WithOptions for OpenCall<T, N> {
    fn parts_mut(&mut self) -> &mut CallParts {
        &mut self.parts
    }
}

impl<T, const N: usize> IntoCall for OpenCall<T, N> {
    type Output = T;

    fn into_call(self) -> Call<T> {
        let mut given =
            self.names.iter().zip(&self.values).filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let arguments = given
            .try_fold(ArgumentsBuilder::default(), |arguments, (name, value)| arguments.named(name, value))
            .map(ArgumentsBuilder::finish);
        Call::with_parts(self.task, arguments, self.parts)
    }
}

impl<T, const N: usize> Clone for OpenCall<T, N> {
    fn clone(&self) -> Self {
        Self {
            task: self.task.clone(),
            names: self.names,
            values: self.values.clone(),
            parts: self.parts.clone(),
            output: PhantomData,
        }
    }
}

/// Shows which arguments are set, and no value (I7).
impl<T, const N: usize> fmt::Debug for OpenCall<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = self.names.iter().zip(&self.values).filter(|(_, value)| value.is_some());
        f.debug_struct("Call")
            .field("task", &self.task)
            .field("arguments", &set.map(|(name, _)| name).collect::<Vec<_>>())
            .field("parts", &self.parts)
            .finish()
    }
}

/// A name that the macro has checked.
pub fn task_name(text: &'static str) -> TaskName {
    checked(TaskName::new(text))
}

/// A name that the macro has checked.
pub fn queue_name(text: &'static str) -> QueueName {
    checked(QueueName::new(text))
}

/// A level that the macro has checked.
pub fn priority(level: u8) -> Priority {
    checked(Priority::new(level))
}

/// At most `max` jobs of a task at once: the task's name is the key.
pub fn concurrency(task: &str, max: u32) -> ConcurrencyLimit {
    ConcurrencyLimit { key: task.into(), max }
}

/// Jobs of a task start at `count` in `period`: the task's name is the key.
pub fn rate_limit(task: &str, count: u32, period: Duration) -> RateLimit {
    RateLimit { key: task.into(), count, period }
}

/// The default policy with what is declared in its place.
pub fn retry_policy(
    max_attempts: Option<u32>,
    backoff: Option<Backoff>,
    max_age: Option<Duration>,
) -> RetryPolicy {
    let RetryPolicy { attempts_max, backoff: otherwise, age_max } = RetryPolicy::default();
    RetryPolicy {
        attempts_max: max_attempts.unwrap_or(attempts_max),
        backoff: backoff.unwrap_or(otherwise),
        age_max: max_age.or(age_max),
    }
}

fn checked<T>(value: Result<T>) -> T {
    value.unwrap_or_else(|error| unreachable!("checked by the macro: {error}"))
}

/// Where the attribute stands.
pub fn location(file: &'static str, line: u32) -> Location {
    Location { file: Cow::Borrowed(file), line }
}

/// Matches arguments with parameters.
///
/// # Errors
/// Fatal: no other attempt finds other arguments.
pub fn bind<'a, const N: usize>(
    arguments: &'a Payload,
    names: &'a [&'a str; N],
) -> TaskResult<ArgumentsView<'a, N>> {
    ArgumentsView::bind(arguments, names).map_err(|error| TaskError::bad_arguments(&error))
}

/// Reads an argument that every call gives.
///
/// # Errors
/// As [`bind`].
pub fn required<T: DeserializeOwned, const N: usize>(
    arguments: &ArgumentsView<'_, N>,
    place: usize,
) -> TaskResult<T> {
    arguments.required(place).map_err(|error| TaskError::bad_arguments(&error))
}

/// Reads an argument that a call may leave out.
///
/// # Errors
/// As [`bind`].
pub fn optional<T: DeserializeOwned, const N: usize>(
    arguments: &ArgumentsView<'_, N>,
    place: usize,
    default: impl FnOnce() -> T,
) -> TaskResult<T> {
    arguments.optional(place, default).map_err(|error| TaskError::bad_arguments(&error))
}

/// The value of a handler that may fail.
///
/// # Errors
/// The handler's.
pub fn value<T, E: Into<TaskError>>(result: std::result::Result<T, E>) -> TaskResult<T> {
    result.map_err(Into::into)
}

/// Writes a result.
///
/// # Errors
/// Fatal: a value without a JSON form has none the next time.
pub fn encode<T: Serialize>(value: &T) -> TaskResult<Payload> {
    Payload::encode(value).map_err(|error| {
        TaskError::Fatal(Failure::new(FailureKind::Fatal, format!("the result cannot be stored: {error}")))
    })
}

/// Gives the future of a handler its type.
pub fn boxed<F>(future: F) -> BoxFuture<'static, TaskResult<Payload>>
where
    F: Future<Output = TaskResult<Payload>> + Send + 'static,
{
    Box::pin(future)
}

/// The schema with a description.
pub fn described(schema: Value, description: &str) -> Value {
    let mut schema = match schema {
        Value::Object(schema) => schema,
        _ => serde_json::Map::new(),
    };
    schema.insert("description".to_owned(), description.into());
    Value::Object(schema)
}

/// The JSON Schema of a type, where it has one. Two traits with the same methods apply to `Of<T>` and to `&Of<T>`; the
/// compiler takes the first where `T` implements `JsonSchema`, since it needs one reference less.
pub mod schema {
    use std::marker::PhantomData;

    use schemars::JsonSchema;
    use schemars::generate::SchemaSettings;
    use serde_json::Value;

    /// A question about `T`.
    #[derive(Debug)]
    pub struct Of<T>(PhantomData<fn() -> T>);

    impl<T> Of<T> {
        /// The question.
        #[expect(clippy::new_without_default, reason = "only the macro makes one")]
        pub fn new() -> Self {
            Self(PhantomData)
        }
    }

    /// Answers for types that describe themselves.
    pub trait Described {
        /// The schema of what is read as a `T`.
        fn of_parameter(&self) -> Value;
        /// The schema of what a `T` is written as.
        fn of_result(&self) -> Value;
    }

    impl<T: JsonSchema> Described for Of<T> {
        fn of_parameter(&self) -> Value {
            schema::<T>(SchemaSettings::draft2020_12().for_deserialize())
        }

        fn of_result(&self) -> Value {
            schema::<T>(SchemaSettings::draft2020_12().for_serialize())
        }
    }

    /// Answers for all others: anything.
    pub trait Undescribed {
        /// The schema of what is read as a `T`.
        fn of_parameter(&self) -> Value;
        /// The schema of what a `T` is written as.
        fn of_result(&self) -> Value;
    }

    impl<T> Undescribed for &Of<T> {
        fn of_parameter(&self) -> Value {
            Value::Bool(true)
        }

        fn of_result(&self) -> Value {
            Value::Bool(true)
        }
    }

    fn schema<T: JsonSchema>(settings: SchemaSettings) -> Value {
        let settings = settings.with(|settings| settings.meta_schema = None);
        let mut schema = settings.into_generator().into_root_schema_for::<T>();
        // A generated title such as "uint32" or "Array_of_string" says nothing the schema does not.
        if T::inline_schema() {
            schema.remove("title");
        }
        schema.to_value()
    }
}

/// Whether a type is a `Result`: the associated constant of the type itself goes before that of the trait.
pub mod probe {
    use std::marker::PhantomData;

    /// A question about `T`.
    #[derive(Debug)]
    pub struct Of<T>(PhantomData<fn() -> T>);

    impl<T, E> Of<Result<T, E>> {
        /// It is.
        pub const IS_RESULT: bool = true;
    }

    /// Answers for all other types.
    pub trait NoResult {
        /// It is not.
        const IS_RESULT: bool = false;
    }

    impl<T> NoResult for Of<T> {}
}
