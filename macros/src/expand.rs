//! What a checked function becomes. Locals are spanned at the macro, so that no parameter's name meets them, and what
//! a type must be able to do is spanned at the type, so that the compiler's message points there.

use std::time::Duration;

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use taskport_abstraction::Backoff;

use crate::function::{Default, Function, Parameter};
use crate::options::Options;

pub(crate) fn expand(function: &Function, options: &Options) -> TokenStream {
    let expansion = Expansion { function, options };
    let conditions = &function.conditions;
    let constructor = expansion.constructor();
    let task_type = expansion.task_type();
    let collected = expansion.collected();
    let guard = expansion.guard();
    quote! {
        #constructor
        #task_type
        #(#conditions)*
        #collected
        #guard
    }
}

struct Expansion<'a> {
    function: &'a Function,
    options: &'a Options,
}

impl Expansion<'_> {
    /// The function that makes a call.
    fn constructor(&self) -> TokenStream {
        if self.function.parameters.iter().any(|parameter| parameter.default.is_some()) {
            self.open_constructor()
        } else {
            self.plain_constructor()
        }
    }

    fn plain_constructor(&self) -> TokenStream {
        let Function { conditions, visibility, signature, parameters, output, .. } = self.function;
        let (docs, name, ident) = (self.docs("Makes a call of the task"), self.name(), &signature.ident);
        let (idents, types) = (idents(parameters), types(parameters));
        let arguments = local("arguments");
        let given = parameters.iter().map(|parameter| {
            let (name, ident) = (parameter.name(), &parameter.ident);
            quote_spanned! {parameter.ty.span()=>
                .and_then(|#arguments| #arguments.named(#name, &#ident))
            }
        });
        let (value, retry) = (&output.ty, self.retry());
        quote! {
            #(#conditions)*
            #docs
            #[allow(dead_code)]
            #visibility fn #ident(#(#idents: #types),*) -> ::taskport::private::Call<#value> {
                static NAME: ::taskport::private::DeclaredName = ::taskport::private::DeclaredName::new(#name);
                ::taskport::private::Call::with_parts(
                    NAME.get(),
                    ::core::result::Result::Ok(::taskport::private::ArgumentsBuilder::default())
                        #(#given)*
                        .map(::taskport::private::ArgumentsBuilder::finish),
                    ::taskport::private::CallParts::of_declared(#retry),
                )
            }
        }
    }

    fn open_constructor(&self) -> TokenStream {
        let Function { conditions, visibility, signature, parameters, output, .. } = self.function;
        let (docs, name, ident) = (self.docs("Makes a call of the task"), self.name(), &signature.ident);
        let call = format_ident!("{}Call", pascal_case(&ident.unraw().to_string()), span = ident.span());
        let call_docs =
            format!("A call of the task `{name}`; arguments that are not set have their defaults.");
        let (len, names) = (parameters.len(), names(parameters));
        let required = parameters.iter().filter(|parameter| parameter.default.is_none());
        let required: Vec<_> = required.map(|parameter| (&parameter.ident, &parameter.ty)).collect();
        let (idents, types): (Vec<_>, Vec<_>) = required.into_iter().unzip();
        let (value, retry) = (&output.ty, self.retry());
        let set = parameters.iter().enumerate().filter(|(_, parameter)| parameter.default.is_none());
        let set = set.map(|(place, Parameter { ident, ty, .. })| {
            quote_spanned!(ty.span()=> .with_argument(#place, &#ident))
        });
        let setters = parameters.iter().enumerate().filter_map(|(place, parameter)| {
            let docs = setter_docs(parameter)?;
            let Parameter { ident, ty, .. } = parameter;
            let setter = format_ident!("arg_{}", ident.unraw(), span = ident.span());
            let with = quote_spanned!(ty.span()=> with_argument(#place, &#ident));
            Some(quote! {
                #[doc = #docs]
                #[allow(dead_code)]
                #visibility fn #setter(self, #ident: #ty) -> Self { Self(self.0.#with) }
            })
        });
        quote! {
            #(#conditions)*
            #docs
            #[allow(dead_code)]
            #visibility fn #ident(#(#idents: #types),*) -> #call {
                static NAME: ::taskport::private::DeclaredName = ::taskport::private::DeclaredName::new(#name);
                #call(
                    ::taskport::private::OpenCall::new(
                        NAME.get(),
                        &[#(#names),*],
                        ::taskport::private::CallParts::of_declared(#retry),
                    )
                    #(#set)*
                )
            }

            #(#conditions)*
            #[doc = #call_docs]
            #[derive(Debug, Clone)]
            #[must_use = "a call does nothing until it is submitted"]
            #visibility struct #call(::taskport::private::OpenCall<#value, #len>);

            #(#conditions)*
            impl #call {
                #(#setters)*
            }

            #(#conditions)*
            impl ::taskport::private::WithOptions for #call {
                fn parts_mut(&mut self) -> &mut ::taskport::private::CallParts {
                    ::taskport::private::WithOptions::parts_mut(&mut self.0)
                }
            }

            #(#conditions)*
            impl ::taskport::private::IntoCall for #call {
                type Output = #value;

                fn into_call(self) -> ::taskport::private::Call<#value> {
                    ::taskport::private::IntoCall::into_call(self.0)
                }
            }
        }
    }

    /// The type of the same name, which names, describes and runs the task.
    fn task_type(&self) -> TokenStream {
        let Function { conditions, visibility, signature, .. } = self.function;
        let (name, ident) = (self.name(), &signature.ident);
        let docs = format!("The task `{name}`: its name, its definition, and the function itself.");
        let (run, definition) = (self.run(), self.definition());
        quote! {
            #(#conditions)*
            #[doc = #docs]
            #[allow(non_camel_case_types, dead_code)]
            #[derive(Debug, Clone, Copy)]
            #visibility struct #ident {}

            #(#conditions)*
            #[allow(dead_code)]
            impl #ident {
                /// The name calls use.
                #visibility const NAME: &'static str = #name;

                /// The definition, for a registry.
                #visibility fn definition() -> ::taskport::private::TaskDefinition {
                    #definition
                }

                #run
            }
        }
    }

    /// The function as it is written.
    fn run(&self) -> Option<TokenStream> {
        let Function { attributes, visibility, signature, body, .. } = self.function;
        let (body, docs) = (body.as_ref()?, self.docs("Runs the function of the task"));
        let mut signature = signature.clone();
        signature.ident = Ident::new("run", signature.ident.span());
        Some(quote! {
            #docs
            #[allow(clippy::needless_pass_by_value)]
            #(#attributes)*
            #visibility #signature #body
        })
    }

    fn definition(&self) -> TokenStream {
        let (name, execution, options) = (self.name(), self.execution(), self.job_options());
        let summary =
            option(self.function.summary(), |text| quote!(::taskport::private::String::from(#text)));
        let parameters = self.function.parameters.iter().map(parameter);
        let result_schema = schema(&self.function.output.ty, "of_result");
        let idempotent = self.options.idempotent.is_some();
        let detach_on_timeout = self.options.detach_on_timeout.is_some();
        let handler = option(self.function.body.as_ref(), |_| self.handler());
        quote! {
            ::taskport::private::TaskDefinition {
                name: ::taskport::private::task_name(#name),
                summary: #summary,
                parameters: ::taskport::private::Vec::from([#(#parameters),*]),
                extra_arguments: false,
                result_schema: #result_schema,
                options: #options,
                execution: ::taskport::private::Execution::#execution,
                idempotent: #idempotent,
                detach_on_timeout: #detach_on_timeout,
                location: ::taskport::private::location(::core::file!(), ::core::line!()),
                handler: #handler,
            }
        }
    }

    fn execution(&self) -> Ident {
        let Options { remote, isolated, blocking, .. } = self.options;
        let is_async = self.function.signature.asyncness.is_some();
        local(match () {
            () if remote.is_some() => "Remote",
            () if isolated.is_some() => "Isolated",
            () if blocking.is_some() => "Blocking",
            () if is_async => "Async",
            () => "Inline",
        })
    }

    fn job_options(&self) -> TokenStream {
        let Options { queue, priority, timeout, soft_timeout, concurrency, rate_limit, tags, .. } =
            self.options;
        let task = self.name();
        let queue = option(queue.as_ref(), |queue| {
            let name = queue.value.as_str();
            quote!(::taskport::private::queue_name(#name))
        });
        let priority = option(priority.as_ref(), |priority| {
            let level = priority.value.level();
            quote!(::taskport::private::priority(#level))
        });
        let timeout_soft = option(soft_timeout.as_ref(), |limit| duration(limit.value));
        let timeout_hard = option(timeout.as_ref(), |limit| duration(limit.value));
        let concurrency = option(concurrency.as_ref(), |slots| {
            let max = slots.value;
            quote!(::taskport::private::concurrency(#task, #max))
        });
        let rate_limit = option(rate_limit.as_ref(), |rate| {
            let (count, period) = (rate.value.0, duration(rate.value.1));
            quote!(::taskport::private::rate_limit(#task, #count, #period))
        });
        let retry = self.retry();
        quote! {
            ::taskport::private::JobOptions {
                queue: #queue,
                priority: #priority,
                timeout_soft: #timeout_soft,
                timeout_hard: #timeout_hard,
                retry: #retry,
                concurrency: #concurrency,
                rate_limit: #rate_limit,
                tags: ::taskport::private::Vec::from([#(::taskport::private::Arc::from(#tags)),*]),
                ..::core::default::Default::default()
            }
        }
    }

    /// The declared policy, where any part of one is declared.
    fn retry(&self) -> TokenStream {
        let Options { max_attempts, backoff, max_age, .. } = self.options;
        let declared = max_attempts.is_some() || backoff.is_some() || max_age.is_some();
        let attempts = option(max_attempts.as_ref(), |attempts| {
            let attempts = attempts.value;
            quote!(#attempts)
        });
        let backoff = option(backoff.as_ref(), |backoff| backoff_tokens(&backoff.value));
        let age = option(max_age.as_ref(), |age| duration(age.value));
        option(
            declared.then_some(()),
            |()| quote!(::taskport::private::retry_policy(#attempts, #backoff, #age)),
        )
    }

    fn handler(&self) -> TokenStream {
        let Function { signature, parameters, has_context, output, .. } = self.function;
        let (ident, names) = (&signature.ident, names(parameters));
        let (context, payload, view) = (local("context"), local("payload"), local("view"));
        let values: Vec<Ident> =
            (0..parameters.len()).map(|place| local(&format!("value_{place}"))).collect();
        let read = parameters.iter().enumerate().map(|(place, parameter)| read(place, parameter, &view));
        let is_async = signature.asyncness.is_some();
        let context_argument = has_context.then(|| match is_async {
            true => quote!(&#context,),
            false => quote!(#context,),
        });
        let at = output.ty.span();
        let wait = is_async.then(|| quote_spanned!(at=> .await));
        let mut value = quote_spanned!(at=> Self::run(#context_argument #(#values),*) #wait);
        if output.fallible {
            value = quote_spanned!(at=> ::taskport::private::value(#value)?);
        }
        let encode = quote_spanned!(at=> ::taskport::private::encode(&#value));
        let bind = quote!(::taskport::private::bind(&#payload, &[#(#names),*])?);
        let steps = if parameters.is_empty() {
            quote!(#bind; #encode)
        } else {
            quote! {
                let (#(#values,)*) = {
                    let #view = #bind;
                    (#(#read,)*)
                };
                #encode
            }
        };
        if is_async {
            let future = quote_spanned!(ident.span()=> ::taskport::private::boxed(async move { #steps }));
            quote! {
                ::taskport::private::Handler::Async(::taskport::private::Arc::new(
                    |#context: ::taskport::private::TaskContext, #payload: ::taskport::private::Payload| #future
                ))
            }
        } else {
            quote! {
                ::taskport::private::Handler::Sync(::taskport::private::Arc::new(
                    |#context: &::taskport::private::TaskContext, #payload: &::taskport::private::Payload| {
                        #steps
                    }
                ))
            }
        }
    }

    /// What makes the task known to `Registry::collected()`.
    fn collected(&self) -> TokenStream {
        let ident = &self.function.signature.ident;
        quote! {
            ::taskport::private::inventory::submit! {
                ::taskport::private::Collected::new(#ident::definition)
            }
        }
    }

    /// An alias may hide a `Result`, whose error would then be stored as if it were a value.
    fn guard(&self) -> Option<TokenStream> {
        let output = &self.function.output;
        let (ty, conditions) = (&output.ty, &self.function.conditions);
        (output.named && !output.fallible).then(|| {
            let message =
                "#[task] cannot see through an alias of `Result`: write `Result<T, E>` or `TaskResult<T>`";
            let check = quote_spanned! {ty.span()=>
                ::core::assert!(!::taskport::private::probe::Of::<#ty>::IS_RESULT, #message)
            };
            quote! {
                #(#conditions)*
                const _: () = {
                    use ::taskport::private::probe::*;
                    #check
                };
            }
        })
    }

    /// The function's own documentation, or `otherwise` and the name.
    fn docs(&self, otherwise: &str) -> TokenStream {
        let docs = &self.function.docs;
        if docs.is_empty() {
            let text = format!("{otherwise} `{}`.", self.name());
            quote!(#[doc = #text])
        } else {
            quote!(#(#docs)*)
        }
    }

    fn name(&self) -> String {
        match &self.options.name {
            Some(name) => name.value.to_string(),
            None => self.function.signature.ident.unraw().to_string(),
        }
    }
}

fn parameter(parameter: &Parameter) -> TokenStream {
    let (name, required) = (parameter.name(), parameter.default.is_none());
    let mut schema = schema(&parameter.ty, "of_parameter");
    if let Some(text) = &parameter.description {
        schema = quote!(::taskport::private::described(#schema, #text));
    }
    quote! {
        ::taskport::private::Parameter {
            name: ::taskport::private::Cow::Borrowed(#name),
            schema: #schema,
            required: #required,
        }
    }
}

/// The schema of a type, by whichever of the two traits applies to it.
fn schema(ty: &syn::Type, method: &str) -> TokenStream {
    let method = local(method);
    quote! {
        {
            use ::taskport::private::schema::*;
            (&Of::<#ty>::new()).#method()
        }
    }
}

fn read(place: usize, parameter: &Parameter, view: &Ident) -> TokenStream {
    let ty = &parameter.ty;
    match &parameter.default {
        None => quote_spanned!(ty.span()=> ::taskport::private::required::<#ty, _>(&#view, #place)?),
        Some(Default::OfType(at)) => {
            let default = quote_spanned!(*at=> <#ty as ::core::default::Default>::default);
            quote_spanned!(ty.span()=> ::taskport::private::optional::<#ty, _>(&#view, #place, #default)?)
        }
        Some(Default::Value(value)) => {
            let default = quote!(|| -> #ty { #value });
            quote_spanned!(ty.span()=> ::taskport::private::optional::<#ty, _>(&#view, #place, #default)?)
        }
    }
}

fn setter_docs(parameter: &Parameter) -> Option<String> {
    let name = parameter.name();
    let text = match parameter.default.as_ref()? {
        Default::OfType(_) => format!("Sets `{name}`, which has a default."),
        Default::Value(value) => format!("Sets `{name}`, which is `{}` by default.", quote!(#value)),
    };
    Some(match &parameter.description {
        Some(description) => format!("{text}\n\n{description}"),
        None => text,
    })
}

fn option<T>(value: Option<T>, some: impl FnOnce(T) -> TokenStream) -> TokenStream {
    match value.map(some) {
        Some(tokens) => quote!(::core::option::Option::Some(#tokens)),
        None => quote!(::core::option::Option::None),
    }
}

/// Written durations are whole milliseconds.
fn duration(duration: Duration) -> TokenStream {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    quote!(::core::time::Duration::from_millis(#millis))
}

fn backoff_tokens(backoff: &Backoff) -> TokenStream {
    let fields = match *backoff {
        Backoff::Fixed { delay } => {
            let delay = duration(delay);
            quote!(Fixed { delay: #delay })
        }
        Backoff::Linear { base, max } => {
            let (base, max) = (duration(base), duration(max));
            quote!(Linear { base: #base, max: #max })
        }
        Backoff::Exponential { base, max, jitter } => {
            let (base, max) = (duration(base), duration(max));
            quote!(Exponential { base: #base, max: #max, jitter: #jitter })
        }
    };
    quote!(::taskport::private::Backoff::#fields)
}

fn idents(parameters: &[Parameter]) -> Vec<&Ident> {
    parameters.iter().map(|parameter| &parameter.ident).collect()
}

fn types(parameters: &[Parameter]) -> Vec<&syn::Type> {
    parameters.iter().map(|parameter| &parameter.ty).collect()
}

fn names(parameters: &[Parameter]) -> Vec<String> {
    parameters.iter().map(Parameter::name).collect()
}

/// A name that no name of the user's can meet.
fn local(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

fn pascal_case(snake: &str) -> String {
    snake
        .split('_')
        .flat_map(|word| {
            let mut letters = word.chars();
            letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect::<Vec<_>>()
        })
        .collect()
}
