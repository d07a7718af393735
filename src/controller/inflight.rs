//! What a drained container still serves: requests and connections of HAProxy, and flows of docker-glue-udp.

use crate::{
    haproxy::inflight::InflightRequests,
    udp::{answer::FlowReport, client::PlaneClient},
};
use std::path::PathBuf;

/// Where and for which container to count.
#[derive(Debug, Clone)]
pub struct InflightWork {
    pub requests: InflightRequests,
    /// `None` if the container has no route of datagrams.
    pub flows: Option<InflightFlows>,
}

/// The flows of a container. docker-glue-udp is asked for each count: its last report may be ten seconds old.
#[derive(Debug, Clone)]
pub struct InflightFlows {
    /// docker-glue-udp's control socket.
    pub socket: PathBuf,
    /// The start of the identifiers of the container's endpoints.
    pub endpoints: String,
}

/// What a container serves at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InflightCount {
    pub requests: u64,
    /// `None` if the container has no route of datagrams.
    pub flows: Option<u64>,
}

impl InflightCount {
    pub fn is_empty(self) -> bool {
        self.requests == 0 && self.flows.unwrap_or_default() == 0
    }
}

impl InflightWork {
    /// Counts requests and flows.
    ///
    /// # Errors
    /// Why that is not possible now.
    pub async fn count(&self) -> Result<InflightCount, String> {
        let requests =
            self.requests.count_requests().await.map_err(|error| format!("HAProxy: {error}"))?;
        let flows = match &self.flows {
            Some(flows) => Some(flows.count_flows().await?),
            None => None,
        };
        Ok(InflightCount { requests, flows })
    }
}

impl InflightFlows {
    async fn count_flows(&self) -> Result<u64, String> {
        let report =
            async { PlaneClient::connect(&self.socket).await?.count_flows(&self.endpoints).await };
        let FlowReport { accepting, open } = report.await.map_err(|error| error.to_string())?;
        // It gets the change by another task, and a flow may begin until then.
        if 0 < accepting {
            return Err("docker-glue-udp has not stopped new flows yet".to_owned());
        }
        Ok(open)
    }
}
