//! Traefik's services: the container's port and its options.
//!
//! Pure.

use super::{
    super::{
        ImagePorts, ServiceInput,
        draft::{ServiceDraft, Setting},
        text,
    },
    Context,
    middleware::to_duration,
    objects::{Field, TraefikLabels, find},
};

/// The port of the container that a router leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ContainerPort {
    pub(super) port: String,
    pub(super) settings: Vec<Setting>,
}

impl ContainerPort {
    /// Returns the port of the service that a router names, or of the only one.
    pub(super) fn find(
        context: &Context,
        service: &ServiceInput,
        labels: &TraefikLabels,
        target: Option<&Field>,
        rule: &Field,
        draft: &mut ServiceDraft,
    ) -> Option<Self> {
        let fields = match target {
            None if labels.services.len() <= 1 => labels.services.values().next(),
            None => {
                let text = "the container has several services, and the router names none of them";
                draft.note_loss(&rule.origin(), text);
                return None;
            }
            Some(target) => {
                let name = target.value.split('@').next().unwrap_or_default();
                let provider =
                    target.value.split_once('@').map_or("docker", |(_, provider)| provider);
                let own = labels.services.get(name);
                if own.is_none() && !matches!(provider, "docker" | "swarm") {
                    let text =
                        "the service is defined outside of the labels; its containers need labels";
                    draft.note_loss(&target.origin(), text);
                    return None;
                }
                if let (None, Some(other)) = (own, context.services.get(name)) {
                    let text = format!(
                        "this service is that of the container {other}, which needs the labels: glue_http_<port>_… of the port there"
                    );
                    draft.note_loss(&target.origin(), text);
                    return None;
                }
                // Traefik adds the service of the container, whatever its name.
                own
            }
        };
        let fields = fields.map_or(&[][..], Vec::as_slice);
        let port = match find(fields, "loadbalancer.server.port") {
            Some(field) => field.value.clone(),
            None => Self::assume(service, rule, draft),
        };
        if !text::has_variable(&port) && port.parse::<std::num::NonZeroU16>().is_err() {
            draft.note_loss(&rule.origin(), format!("{port} is no port"));
            return None;
        }
        let settings = read_settings(fields, draft);
        Some(Self { port, settings })
    }

    /// Returns the lowest port that the container exposes, as Traefik does.
    fn assume(service: &ServiceInput, rule: &Field, draft: &mut ServiceDraft) -> String {
        let port = service.exposed.first().copied();
        if let Some(port) = port.filter(|_| service.image_ports == ImagePorts::Known) {
            return port.to_string();
        }
        let port = port.unwrap_or(80);
        let text = format!(
            "Traefik takes the lowest port that the image exposes, which is not in the input: {port} is assumed. With --running it is known"
        );
        draft.note_loss(&rule.origin(), text);
        port.to_string()
    }
}

#[allow(clippy::match_same_arms, reason = "an arm for each option, in their order")]
fn read_settings(fields: &[Field], draft: &mut ServiceDraft) -> Vec<Setting> {
    let mut settings = Vec::new();
    for field in fields {
        let mut set =
            |option: &str, value: &str| settings.push(Setting::new(option, value, &field.origin()));
        match field.name.strip_prefix("loadbalancer.").unwrap_or_default() {
            "server.port" => {}
            "server.scheme" => match field.value.to_ascii_lowercase().as_str() {
                "http" => {}
                "https" | "h2c" => set("scheme", &field.value.to_ascii_lowercase()),
                value if text::has_variable(value) => set("scheme", &field.value),
                _ => draft.note_loss(&field.origin(), "scheme is http, h2c, https or h2"),
            },
            "server.weight" => set("weight", &field.value),
            "passhostheader" if text::is_on(&field.value) => {}
            "passhostheader" => {
                draft.note_loss(
                    &field.origin(),
                    "the container gets the host that the client asked for",
                );
            }
            "sticky" | "sticky.cookie" if text::is_on(&field.value) => set("sticky", "cookie"),
            "sticky" | "sticky.cookie" => {}
            name if name.starts_with("sticky.cookie.") => {
                if find(fields, "loadbalancer.sticky.cookie").is_none()
                    && find(fields, "loadbalancer.sticky").is_none()
                    && !settings.iter().any(|setting| setting.option == "sticky")
                {
                    settings.push(Setting::new("sticky", "cookie", &field.origin()));
                }
                let text = "docker-balancer chooses the cookie's name and attributes";
                draft.note_advice(&field.origin(), text);
            }
            "healthcheck.path" => set("check", &field.value),
            "healthcheck.interval" => match to_duration(&field.value) {
                Some(time) if time.subsec_nanos() == 0 => {
                    set("check_interval", &format!("{}s", time.as_secs()));
                }
                Some(time) => set("check_interval", &format!("{}ms", time.as_millis())),
                None => draft.note_loss(&field.origin(), "check_interval takes a time"),
            },
            "healthcheck.port" => set("check_port", &field.value),
            "healthcheck.timeout" | "healthcheck.unhealthyinterval" => {
                draft.note_advice(&field.origin(), "the time of a check follows its interval");
            }
            name if name.starts_with("healthcheck.") => {
                draft.note_loss(
                    &field.origin(),
                    "a check is a GET of the path that expects a status of 2xx or 3xx",
                );
            }
            name if name.starts_with("responseforwarding") => {
                draft.note_advice(&field.origin(), "HAProxy streams responses");
            }
            "serverstransport" => {
                let text = "TLS to the container is not verified unless verify is set; the name is set with server_name";
                draft.note_advice(&field.origin(), text);
            }
            _ => draft.note_loss(&field.origin(), "this option of a service has no counterpart"),
        }
    }
    settings
}
