//! What clouds tell their machines of their public addresses.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder};

/// Where all three clouds answer: an address of the link alone, which no other network can stand in for.
pub(crate) const METADATA: &str = "http://169.254.169.254";
/// How long each request may take. Where there is no cloud, nobody answers, and the start waits this long.
const PATIENCE: Duration = Duration::from_millis(800);
/// The longest answer that is read: an address, or Azure's list of them.
const MAX_ANSWER: usize = 4096;

/// The cloud that this machine runs in, and what it says the machine's public addresses are.
pub(crate) async fn ask(base: &str) -> Option<(&'static str, Vec<IpAddr>)> {
    // Never by a proxy, never on to another address: what answers there speaks for nobody.
    let client = Client::builder().no_proxy().redirect(Policy::none()).timeout(PATIENCE).build().ok()?;
    let (amazon, google, azure) = tokio::join!(amazon(&client, base), google(&client, base), azure(&client, base));
    let answers = [("AWS", amazon), ("Google Cloud", google), ("Azure", azure)];
    answers.into_iter().find(|(_, addresses)| !addresses.is_empty())
}

/// Instance metadata, version 2: a token first.
async fn amazon(client: &Client, base: &str) -> Vec<IpAddr> {
    let token = client.put(format!("{base}/latest/api/token")).header("x-aws-ec2-metadata-token-ttl-seconds", "60");
    let Some(token) = text(token).await else { return Vec::new() };
    let ask = async |path: &str| {
        let request = client.get(format!("{base}/latest/meta-data/{path}"));
        one(text(request.header("x-aws-ec2-metadata-token", token.trim())).await)
    };
    let (v4, v6) = tokio::join!(ask("public-ipv4"), ask("ipv6"));
    [v4, v6].into_iter().flatten().collect()
}

async fn google(client: &Client, base: &str) -> Vec<IpAddr> {
    let ask = async |path: &str| {
        let path = format!("{base}/computeMetadata/v1/instance/network-interfaces/0/{path}");
        one(text(client.get(path).header("metadata-flavor", "Google")).await)
    };
    let (v4, v6) = tokio::join!(ask("access-configs/0/external-ip"), ask("ipv6s"));
    [v4, v6].into_iter().flatten().collect()
}

/// The address of the interface; of a machine behind a load balancer, or with an address of the standard kind, that
/// of the balancer's front.
async fn azure(client: &Client, base: &str) -> Vec<IpAddr> {
    let path = "instance/network/interface/0/ipv4/ipAddress/0/publicIpAddress?api-version=2021-02-01&format=text";
    let interface = client.get(format!("{base}/metadata/{path}")).header("metadata", "true");
    let front = client.get(format!("{base}/metadata/loadbalancer?api-version=2020-10-01")).header("metadata", "true");
    let (interface, front) = tokio::join!(text(interface), text(front));
    if let Some(address) = one(interface) {
        return vec![address];
    }
    let front: serde_json::Value = front.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let all = front["loadbalancer"]["publicIpAddresses"].as_array().into_iter().flatten();
    all.filter_map(|each| each["frontendIpAddress"].as_str()?.parse().ok()).collect()
}

/// The first address of an answer.
fn one(answer: Option<String>) -> Option<IpAddr> {
    answer?.split_whitespace().next()?.parse().ok()
}

async fn text(request: RequestBuilder) -> Option<String> {
    let mut response = request.send().await.ok()?.error_for_status().ok()?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    String::from_utf8(body).ok()
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::{HeaderMap, StatusCode};
    use axum::response::Redirect;
    use axum::routing::{get, put};

    use super::*;

    async fn answers(router: Router) -> Option<(&'static str, Vec<IpAddr>)> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("bound"));
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        let found = ask(&base).await;
        server.abort();
        found
    }

    fn with(headers: &HeaderMap, name: &str, value: &str, text: &str) -> Result<String, StatusCode> {
        let matches = headers.get(name).is_some_and(|given| given == value);
        if matches { Ok(text.to_owned()) } else { Err(StatusCode::UNAUTHORIZED) }
    }

    fn addresses(text: &str) -> Vec<IpAddr> {
        text.split(' ').map(|a| a.parse().expect("an address")).collect()
    }

    #[tokio::test]
    async fn amazon_is_asked_with_its_token() {
        let token = |h: HeaderMap| async move { with(&h, "x-aws-ec2-metadata-token-ttl-seconds", "60", "T0ken\n") };
        let v4 = |h: HeaderMap| async move { with(&h, "x-aws-ec2-metadata-token", "T0ken", "198.51.100.1") };
        let cloud =
            Router::new().route("/latest/api/token", put(token)).route("/latest/meta-data/public-ipv4", get(v4));
        assert_eq!(answers(cloud).await, Some(("AWS", addresses("198.51.100.1"))));
    }

    #[tokio::test]
    async fn google_is_asked_with_its_flavour() {
        let root = "/computeMetadata/v1/instance/network-interfaces/0";
        let v4 = |h: HeaderMap| async move { with(&h, "metadata-flavor", "Google", "198.51.100.2") };
        let v6 = |h: HeaderMap| async move { with(&h, "metadata-flavor", "Google", "2001:db8::2\n") };
        let cloud = Router::new()
            .route(&format!("{root}/access-configs/0/external-ip"), get(v4))
            .route(&format!("{root}/ipv6s"), get(v6));
        assert_eq!(answers(cloud).await, Some(("Google Cloud", addresses("198.51.100.2 2001:db8::2"))));
    }

    #[tokio::test]
    async fn azure_has_its_address_at_the_interface_or_at_the_balancer() {
        let path = "/metadata/instance/network/interface/0/ipv4/ipAddress/0/publicIpAddress";
        let own = |h: HeaderMap| async move { with(&h, "metadata", "true", "198.51.100.3") };
        let cloud = Router::new().route(path, get(own));
        assert_eq!(answers(cloud).await, Some(("Azure", addresses("198.51.100.3"))));

        let list = r#"{"loadbalancer":{"publicIpAddresses":[{"frontendIpAddress":"198.51.100.4","privateIpAddress":"10.0.0.4"}]}}"#;
        let front = move |h: HeaderMap| async move { with(&h, "metadata", "true", list) };
        let cloud = Router::new().route(path, get(|| async { "" })).route("/metadata/loadbalancer", get(front));
        assert_eq!(answers(cloud).await, Some(("Azure", addresses("198.51.100.4"))));
    }

    #[tokio::test]
    async fn neither_redirects_nor_long_answers_nor_pages_are_believed() {
        let path = "/computeMetadata/v1/instance/network-interfaces/0/access-configs/0/external-ip";
        let elsewhere = Router::new()
            .route(path, get(|| async { Redirect::temporary("/there") }))
            .route("/there", get(|| async { "198.51.100.5" }));
        assert_eq!(answers(elsewhere).await, None);
        let long = Router::new().route(path, get(|| async { format!("198.51.100.5 {}", "x".repeat(5000)) }));
        assert_eq!(answers(long).await, None);
        let portal = Router::new().fallback(|| async { "<html>Log in</html>" });
        assert_eq!(answers(portal).await, None);
    }
}
