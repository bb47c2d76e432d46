//! The function under `#[task]`, taken apart and checked: what has no meaning for a task is refused at its span.

use proc_macro2::{Group, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, Expr, ExprLit, FnArg, GenericArgument, Ident, Lit, Meta, MetaNameValue, Pat, PatIdent,
    PatType, PathArguments, Result, ReturnType, Signature, Token, Type, Visibility,
};

use crate::options::Problems;

/// A function that can be a task.
pub(crate) struct Function {
    /// The doc comments.
    pub(crate) docs: Vec<Attribute>,
    /// The conditions that everything made of the function shares.
    pub(crate) conditions: Vec<Attribute>,
    /// All other attributes, which stay with the function.
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    /// The signature without the attributes that are ours.
    pub(crate) signature: Signature,
    /// Whether the first parameter is the context.
    pub(crate) has_context: bool,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) output: Output,
    /// `None` where `;` stands in its place.
    pub(crate) body: Option<Group>,
}

/// One parameter that a call gives.
pub(crate) struct Parameter {
    pub(crate) ident: Ident,
    pub(crate) ty: Type,
    pub(crate) default: Option<Default>,
    pub(crate) description: Option<String>,
}

/// What stands for a value that a call leaves out.
pub(crate) enum Default {
    /// `#[default]`: the type's own default.
    OfType(Span),
    /// `#[default(expression)]`.
    Value(Box<Expr>),
}

/// What the function returns.
pub(crate) struct Output {
    /// The type of the value.
    pub(crate) ty: Type,
    /// Whether the value comes in a `Result`.
    pub(crate) fallible: bool,
    /// Whether the function names a type at all.
    pub(crate) named: bool,
}

impl Function {
    pub(crate) fn parse(item: TokenStream) -> Result<Self> {
        let parts: Parts = syn::parse2(item)?;
        let mut problems = Problems::default();
        let mut signature = parts.signature;
        check_qualifiers(&signature, &mut problems);
        let mut parameters = Vec::new();
        let mut has_context = false;
        for (place, argument) in signature.inputs.iter_mut().enumerate() {
            match argument {
                FnArg::Receiver(receiver) => {
                    problems.add(receiver.span(), "a task is a free function: it has no `self`");
                }
                FnArg::Typed(argument) if names_context(&argument.ty) => {
                    has_context = true;
                    check_context(place, &argument.ty, &mut problems);
                }
                FnArg::Typed(argument) => {
                    parameters.extend(problems.note(Parameter::parse(argument)));
                }
            }
        }
        check_defaults_last(&parameters, &mut problems);
        let output = Output::parse(&signature.output, &mut problems);
        let (docs, attributes): (Vec<_>, _) =
            parts.attributes.into_iter().partition(|attribute| attribute.path().is_ident("doc"));
        let (conditions, attributes) = attributes.into_iter().partition(is_condition);
        problems.into_result(Self {
            docs,
            conditions,
            attributes,
            visibility: parts.visibility,
            signature,
            has_context,
            parameters,
            output,
            body: parts.body,
        })
    }

    /// Refuses what only the side that runs a task can use.
    pub(crate) fn check_remote(&self, problems: &mut Problems) {
        let context = self.signature.inputs.first().filter(|_| self.has_context);
        if let Some(context) = context {
            problems.add(context.span(), "a `remote` task is run elsewhere, so it sees no context here");
        }
        for parameter in &self.parameters {
            if let Some(Default::Value(value)) = &parameter.default {
                problems.add(value.span(), "the default is the implementation's: write `#[default]` alone");
            }
        }
    }

    /// The first paragraph of the documentation, on one line.
    pub(crate) fn summary(&self) -> Option<String> {
        let lines = self.docs.iter().filter_map(doc_text);
        let text: Vec<String> = lines
            .flat_map(|text| text.split('\n').map(|line| line.trim().to_owned()).collect::<Vec<_>>())
            .skip_while(String::is_empty)
            .take_while(|line| !line.is_empty())
            .collect();
        (!text.is_empty()).then(|| text.join(" "))
    }
}

/// The function as it is written. The body stays as it is: it may be code that is still being typed.
struct Parts {
    attributes: Vec<Attribute>,
    visibility: Visibility,
    signature: Signature,
    body: Option<Group>,
}

impl Parse for Parts {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let attributes = input.call(Attribute::parse_outer)?;
        let visibility = input.parse()?;
        let starts_function = input.peek(Token![fn])
            || input.peek(Token![async])
            || input.peek(Token![const])
            || input.peek(Token![unsafe])
            || input.peek(Token![extern]);
        if !starts_function {
            return Err(input.error("`#[task]` goes on a function"));
        }
        let signature = input.parse()?;
        if input.parse::<Option<Token![;]>>()?.is_some() {
            return Ok(Self { attributes, visibility, signature, body: None });
        }
        if !input.peek(syn::token::Brace) {
            return Err(input.error("expected the body of the function, or `;` for a `remote` task"));
        }
        Ok(Self { attributes, visibility, signature, body: Some(input.parse()?) })
    }
}

impl Parameter {
    /// Takes the parameter apart, and the attributes that are ours away from it.
    fn parse(argument: &mut PatType) -> Result<Self> {
        let ident = match &*argument.pat {
            Pat::Ident(PatIdent { by_ref: None, subpat: None, ident, .. }) => ident.clone(),
            pattern => return Err(Error::new(pattern.span(), "a parameter of a task is a plain name")),
        };
        let (mut default, mut description, mut kept) = (None, Vec::new(), Vec::new());
        for attribute in std::mem::take(&mut argument.attrs) {
            match &attribute {
                ours if ours.path().is_ident("default") => default = Some(Default::parse(ours)?),
                comment if comment.path().is_ident("doc") => description.extend(doc_text(comment)),
                condition if is_condition(condition) => {
                    let message = "the parameters of a task are the same in every build";
                    return Err(Error::new(condition.span(), message));
                }
                _ => kept.push(attribute),
            }
        }
        argument.attrs = kept;
        check_owned(&argument.ty, "a parameter of a task is owned: its value comes out of a stored job")?;
        let description = description.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        let description = Some(description).filter(|text| !text.is_empty());
        Ok(Self { ident, ty: (*argument.ty).clone(), default, description })
    }

    /// The name that calls use.
    pub(crate) fn name(&self) -> String {
        self.ident.unraw().to_string()
    }
}

impl Default {
    fn parse(attribute: &Attribute) -> Result<Self> {
        match &attribute.meta {
            Meta::Path(path) => Ok(Self::OfType(path.span())),
            Meta::List(list) => Ok(Self::Value(Box::new(list.parse_args()?))),
            Meta::NameValue(pair) => {
                Err(Error::new(pair.span(), "a default is written as `#[default]` or `#[default(7)]`"))
            }
        }
    }
}

impl Output {
    fn parse(output: &ReturnType, problems: &mut Problems) -> Self {
        let ty = match output {
            ReturnType::Default => {
                return Self { ty: syn::parse_quote!(()), fallible: false, named: false };
            }
            ReturnType::Type(_, ty) => ty,
        };
        problems.note(check_owned(ty, "the result of a task is owned: it is stored and read elsewhere"));
        match result_value(ty) {
            Some(value) => Self { ty: value.clone(), fallible: true, named: true },
            None => Self { ty: (**ty).clone(), fallible: false, named: true },
        }
    }
}

/// The `T` of `Result<T, …>` or `TaskResult<T>`, by whatever path.
fn result_value(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    if last.ident != "Result" && last.ident != "TaskResult" {
        return None;
    }
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first()? {
        GenericArgument::Type(value) => Some(value),
        _ => None,
    }
}

fn check_qualifiers(signature: &Signature, problems: &mut Problems) {
    if let Some(constness) = &signature.constness {
        problems.add(constness.span(), "a task is no `const fn`: it runs in a worker");
    }
    if let Some(unsafety) = &signature.unsafety {
        problems
            .add(unsafety.span(), "a task is no `unsafe fn`: whoever submits it cannot keep its contract");
    }
    if let Some(abi) = &signature.abi {
        problems.add(abi.span(), "a task is a Rust function");
    }
    if let Some(variadic) = &signature.variadic {
        problems.add(variadic.span(), "a task is a Rust function");
    }
    let generics = &signature.generics;
    if !generics.params.is_empty() {
        problems.add(generics.span(), "a task is not generic: its name stands for one function");
    } else if let Some(conditions) = &generics.where_clause {
        problems.add(conditions.span(), "a task is not generic, so it has no `where`");
    }
}

fn names_context(ty: &Type) -> bool {
    match ty {
        Type::Reference(reference) => names_context(&reference.elem),
        Type::Path(path) => path.path.segments.last().is_some_and(|last| last.ident == "TaskContext"),
        _ => false,
    }
}

fn check_context(place: usize, ty: &Type, problems: &mut Problems) {
    if place > 0 {
        problems.add(ty.span(), "the context is the first parameter");
    }
    match ty {
        Type::Reference(reference) if reference.mutability.is_none() && reference.lifetime.is_none() => {}
        _ => problems.add(ty.span(), "the context is borrowed: `&TaskContext`"),
    }
}

/// A positional call can leave out only what stands last.
fn check_defaults_last(parameters: &[Parameter], problems: &mut Problems) {
    let first_default = parameters.iter().position(|parameter| parameter.default.is_some());
    for parameter in parameters.iter().skip(first_default.unwrap_or(parameters.len())) {
        if parameter.default.is_none() {
            problems
                .add(parameter.ident.span(), "a parameter without a default stands before those with one");
        }
    }
}

/// Refuses borrows and `impl Trait`, at any depth.
fn check_owned(ty: &Type, why: &str) -> Result<()> {
    fn walk(tokens: TokenStream, why: &str) -> Result<()> {
        let mut after_quote = false;
        for token in tokens {
            match &token {
                TokenTree::Punct(punct) if punct.as_char() == '&' => {
                    return Err(Error::new(punct.span(), why));
                }
                TokenTree::Ident(ident) if after_quote && ident != "static" => {
                    return Err(Error::new(ident.span(), why));
                }
                TokenTree::Ident(ident) if ident == "impl" => {
                    return Err(Error::new(ident.span(), "a task names its types: `impl Trait` is none"));
                }
                TokenTree::Group(group) => walk(group.stream(), why)?,
                _ => {}
            }
            after_quote = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '\'');
        }
        Ok(())
    }
    walk(ty.to_token_stream(), why)
}

fn is_condition(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg") || attribute.path().is_ident("cfg_attr")
}

fn doc_text(attribute: &Attribute) -> Option<String> {
    match &attribute.meta {
        Meta::NameValue(MetaNameValue { value: Expr::Lit(ExprLit { lit: Lit::Str(text), .. }), .. }) => {
            Some(text.value())
        }
        _ => None,
    }
}
