//! Submit, status, outcome, administration.

use futures_util::StreamExt;
use taskport_abstraction::backend::{Cancellation, JobFilter, PageRequest, QueueOrder, Scope};
use taskport_abstraction::options::{Priority, Start};
use taskport_abstraction::{Feature, JobId, JobState, Payload, QueueName, codes};
use taskport_native::{NativeConfig, Synchronous};

use crate::support::{job, memory, open, soon, sqlite, state, submit};

#[tokio::test]
async fn what_no_job_may_ask_is_refused_and_the_rest_of_the_batch_is_taken() {
    let backend = memory().await;
    let (mut absurd, mut large) = (job("absurd"), job("large"));
    absurd.options.timeout_soft = Some(std::time::Duration::from_secs(2));
    absurd.options.timeout_hard = Some(std::time::Duration::from_secs(1));
    large.call.arguments = Payload::json(vec![b' '; (16 << 20) + 1]);
    let results = soon(backend.submit(vec![job("good"), absurd, large, job("last")])).await;
    let code = |place: usize| results[place].as_ref().map_err(|error| error.code().number);
    assert!(code(0).is_ok() && code(3).is_ok());
    assert_eq!(code(1).unwrap_err(), codes::BAD_OPTION.number);
    assert_eq!(code(2).unwrap_err(), codes::PAYLOAD_TOO_LARGE.number);
    let error = results[1].as_ref().unwrap_err();
    assert_eq!(error.backend().unwrap().as_str(), "main");
    let ids = ["good", "absurd", "large", "last"].map(|id| JobId::new(id).unwrap());
    let found = soon(backend.get(&ids)).await.unwrap();
    let known: Vec<bool> = found.iter().map(Option::is_some).collect();
    assert_eq!(known, [true, false, false, true]);
}

#[tokio::test]
async fn a_batch_over_the_limit_is_refused_whole() {
    let backend = memory().await;
    let batch = (0..=10_000).map(|number| job(&format!("j{number}"))).collect();
    let results = soon(backend.submit(batch)).await;
    assert_eq!(results.len(), 10_001);
    assert!(
        results
            .iter()
            .all(|result| { result.as_ref().is_err_and(|error| error.code() == &codes::PAYLOAD_TOO_LARGE) })
    );
    assert!(soon(backend.admin().unwrap().queues()).await.unwrap().is_empty());
}

#[tokio::test]
async fn capabilities_follow_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let file = sqlite(&folder.path().join("jobs.db")).await;
    let memory = memory().await;
    let (file, memory) = (file.capabilities(Scope::default()), memory.capabilities(Scope::default()));
    for feature in Feature::ALL {
        let only_on_file = matches!(
            feature,
            Feature::Durable
                | Feature::MultiProcess
                | Feature::WorkflowResume
                | Feature::TransactionalEnqueue
                | Feature::Outbox
                | Feature::Backup
                | Feature::Restore
                | Feature::Vacuum
        );
        assert_eq!(memory.supports(*feature), file.supports(*feature) && !only_on_file, "{feature}");
    }
}

#[tokio::test]
async fn jobs_outlive_the_backend_on_a_file_and_health_tells_weak_settings() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jobs.db");
    let backend = sqlite(&file).await;
    assert!(!submit(backend.as_ref(), job("a")).await.unwrap().existing);
    assert!(soon(backend.health()).await.unwrap().degraded.is_empty());
    soon(backend.close()).await.unwrap();
    assert_eq!(soon(backend.health()).await.unwrap_err().code(), &codes::CLOSED);
    let config = NativeConfig {
        synchronous: Synchronous::Normal,
        ..NativeConfig::from_url(format!("sqlite://{}", file.display())).unwrap()
    };
    let again = open(config).await.unwrap();
    assert!(submit(again.as_ref(), job("a")).await.unwrap().existing);
    assert_eq!(soon(again.health()).await.unwrap().degraded.len(), 1);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes.txt");
    std::fs::write(&file, "dear diary, ".repeat(100)).unwrap();
    let config = NativeConfig::from_url(format!("sqlite://{}", file.display())).unwrap();
    let error = open(config).await.unwrap_err();
    assert_eq!(error.code(), &codes::STORE_FOREIGN);
    assert_eq!(error.backend().unwrap().as_str(), "main");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "dear diary, ".repeat(100));
}

#[tokio::test]
async fn administration_pauses_lists_orders_and_purges() {
    let backend = memory().await;
    let admin = backend.admin().unwrap();
    let queue = QueueName::default_queue();
    let mut urgent = job("urgent");
    urgent.options.priority = Some(Priority::MAX);
    let mut later = job("later");
    later.options.start = Some(Start::In(std::time::Duration::from_secs(3_600)));
    for result in soon(backend.submit(vec![job("plain"), urgent, later])).await {
        result.unwrap();
    }
    soon(admin.pause(&queue, Some("maintenance"))).await.unwrap();
    soon(admin.set_order(&queue, QueueOrder::Lifo)).await.unwrap();
    let stats = soon(admin.queues()).await.unwrap().remove(0);
    assert_eq!((stats.paused, stats.paused_reason.as_deref()), (true, Some("maintenance")));
    assert_eq!((stats.order, stats.counts.queued, stats.counts.scheduled), (QueueOrder::Lifo, 2, 1));
    soon(admin.resume(&queue)).await.unwrap();
    let page = |after, len| admin.jobs(JobFilter::default(), PageRequest { after, len });
    let first = soon(page(None, 2)).await.unwrap();
    let rest = soon(page(first.next.clone(), 2)).await.unwrap();
    let ids: Vec<_> = first.items.iter().chain(&rest.items).map(|job| job.id.as_str()).collect();
    assert_eq!(ids, ["later", "urgent", "plain"]);
    assert!(rest.next.is_none());
    assert_eq!(soon(page(None, 1_001)).await.unwrap_err().code(), &codes::BAD_OPTION);
    let cancelled = soon(backend.cancel(&[JobId::new("plain").unwrap()])).await.remove(0);
    assert_eq!(cancelled.unwrap(), Cancellation::Cancelled);
    assert_eq!(soon(admin.purge(&queue)).await.unwrap(), 2);
    for result in soon(admin.requeue(&[JobId::new("plain").unwrap()])).await {
        result.unwrap();
    }
    assert_eq!(state(backend.as_ref(), "plain").await, JobState::Queued);
    let unknown = soon(backend.wait(vec![JobId::new("urgent").unwrap()]).next()).await.unwrap();
    assert_eq!(unknown.1.unwrap_err().backend().unwrap().as_str(), "main");
}
