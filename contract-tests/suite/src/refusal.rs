//! Asking for what a backend says it cannot do, and demanding `Unsupported` with the declared text.

use std::time::Duration;

use taskport_abstraction::backend::{QueueLimits, QueueOrder, Rate};
use taskport_abstraction::options::{OnConflict, Unique};
use taskport_abstraction::{
    Call, Capability, Error, Feature, QueueName, RetryPolicy, Support, WithOptions, codes,
};

use crate::fixture::Fixture;
use crate::kit::echo;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Fails unless the feature is refused where it can be asked for, and explained where it cannot.
pub(crate) async fn is_refused(f: Fixture, feature: Feature) {
    let capability = f.capability();
    let Support::Unsupported { why, instead } = capability.get(feature) else {
        panic!("`{feature}` is not declared unsupported");
    };
    assert!(!why.is_empty() && !instead.is_empty(), "`{feature}` gives no reason or no way around");
    if let Some(error) = ask(&f, feature).await {
        assert_eq!(error.code(), &codes::UNSUPPORTED, "`{feature}`: {error}");
        assert!(
            error.to_string().contains(why.as_ref()),
            "`{feature}` is refused with another reason: {error}"
        );
    }
    assert_nothing_was_submitted(&f, &capability).await;
}

/// The answer to asking for the feature; `None` where it is a property that no call asks for.
async fn ask(f: &Fixture, feature: Feature) -> Option<Error> {
    let submit = async |call: Call| Some(f.try_submit(call).await.unwrap_err());
    let second = Duration::from_secs(1);
    let retry = |backoff: &str| {
        echo(1).retry(RetryPolicy { backoff: backoff.parse().unwrap(), ..RetryPolicy::default() })
    };
    let order = async |order| {
        let queue = QueueName::default_queue();
        f.backend().admin()?.set_order(&queue, order).await.err()
    };
    let limits = async |limits| {
        let queue = QueueName::default_queue();
        f.backend().admin()?.set_limits(&queue, limits).await.err()
    };
    match feature {
        Feature::Priority => submit(echo(1).priority(9)).await,
        Feature::OrderingKey => submit(echo(1).ordering_key("k")).await,
        Feature::ConcurrencyKey => submit(echo(1).concurrency_key("k", 1)).await,
        Feature::RateLimit => submit(echo(1).rate_limit("k", 1, second)).await,
        Feature::Delay => submit(echo(1).delay(second)).await,
        Feature::Expiry => submit(echo(1).expires_in(second)).await,
        Feature::TimeoutSoft => submit(echo(1).soft_timeout(second)).await,
        Feature::TimeoutHard => submit(echo(1).timeout(second)).await,
        Feature::RetryFixed => submit(retry("fixed(1s)")).await,
        Feature::RetryLinear => submit(retry("linear(1s)")).await,
        Feature::RetryExponential => submit(retry("exponential(1s)")).await,
        Feature::RetryAgeMax => {
            submit(echo(1).retry(RetryPolicy { age_max: Some(second), ..RetryPolicy::default() })).await
        }
        Feature::UniqueWhileLive => submit(echo(1).idempotency_key("k")).await,
        Feature::UniqueForPeriod => submit(echo(1).unique("k", Unique::For(second), OnConflict::Keep)).await,
        Feature::UniqueForever => submit(echo(1).unique("k", Unique::Forever, OnConflict::Keep)).await,
        Feature::UniqueReplace => submit(echo(1).unique("k", Unique::WhileLive, OnConflict::Replace)).await,
        Feature::Tags => submit(echo(1).tag("t")).await,
        Feature::Metadata => submit(echo(1).metadata("k", "v")).await,
        Feature::Parent => submit(echo(1).parent(f.new_id())).await,
        Feature::TraceContext => submit(echo(1).trace(TRACE)).await,
        Feature::OrderFifo => order(QueueOrder::Fifo).await,
        Feature::OrderLifo => order(QueueOrder::Lifo).await,
        Feature::OrderFair => order(QueueOrder::Fair).await,
        Feature::OrderAgeing => limits(QueueLimits { ageing: Some(second), ..QueueLimits::default() }).await,
        Feature::QueueConcurrency => {
            limits(QueueLimits { concurrency_max: Some(1), ..QueueLimits::default() }).await
        }
        Feature::QueueRateLimit => {
            let rate = Some(Rate { count: 1, period: second });
            limits(QueueLimits { rate, ..QueueLimits::default() }).await
        }
        Feature::UniqueIgnore => submit(echo(1).unique("k", Unique::WhileLive, OnConflict::Ignore)).await,
        Feature::Batches => {
            assert!(f.backend().batches().is_none(), "batches are offered and declared unsupported");
            None
        }
        Feature::Backup => f.backend().maintenance()?.backup(&f.path("copy")).await.err(),
        Feature::Restore => f.backend().maintenance()?.restore(&f.path("copy")).await.err(),
        Feature::Vacuum => f.backend().maintenance()?.vacuum().await.err(),
        _ => None,
    }
}

async fn assert_nothing_was_submitted(f: &Fixture, capability: &Capability) {
    if capability.supports(Feature::QueueList) {
        let queues = f.admin().queues().await.unwrap();
        assert!(queues.iter().all(|queue| queue.counts.submitted == 0), "a refused job was taken");
    }
}
