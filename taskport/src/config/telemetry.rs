use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretUrl;

/// Where the spans of this program go.
///
/// Without `otlp` the standard variables hold, such as `OTEL_EXPORTER_OTLP_ENDPOINT`; the others (`OTEL_SERVICE_NAME`,
/// `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_TRACES_SAMPLER`, `OTEL_BSP_*`, …) hold in any case.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// The OpenTelemetry collector that takes spans by OTLP over HTTP, such as `http://127.0.0.1:4318`; `/v1/traces` is
    /// added. Default: none, so that no span leaves the process. May be `env:NAME` or `file:PATH`. Needs a program built
    /// with the cargo feature `otel`. Since v0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub otlp: Option<SecretUrl>,
    /// The name of this program in its spans. Default: `OTEL_SERVICE_NAME`, else `taskport`. Since v0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}
