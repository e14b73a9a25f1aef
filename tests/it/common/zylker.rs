//! An emulator on a free port and a plain HTTP client that is signed in to it.

use serde_json::{Value, json};
use zoho_crm_connector::emulator::{Emulator, Options, start};

/// An emulator with a client of its own.
pub struct Zylker {
    pub emulator: Emulator,
    pub http: reqwest::Client,
    token: String,
}

/// Status and JSON body; null for an empty one.
pub type Answer = (u16, Value);

impl Zylker {
    /// Starts with that many rows per module.
    pub async fn with_rows(rows: &[(&str, u64)]) -> Self {
        let rows = rows.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        Self::start(Options { rows, ..Options::default() }).await
    }

    pub async fn start(options: Options) -> Self {
        // Another test of this binary may have installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let emulator = start(options).await.expect("the emulator starts");
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let token = fetch_token(&http, emulator.base_url()).await;
        Self { emulator, http, token }
    }

    /// With a new token, for a clock that has moved on.
    pub async fn signed_in_again(self) -> Self {
        let token = fetch_token(&self.http, self.emulator.base_url()).await;
        Self { token, ..self }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.emulator.base_url())
    }

    /// A request with the token.
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().expect("a method");
        let path = if path.starts_with("http") { path.to_owned() } else { self.url(path) };
        self.http.request(method, path).header("authorization", format!("Zoho-oauthtoken {}", self.token))
    }

    pub async fn get(&self, path: &str) -> Answer {
        answer(self.request("GET", path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = self.request("POST", path).header("content-type", "application/json");
        answer(request.body(body.to_string())).await
    }

    /// Bytes of an answer that has to be good.
    pub async fn download(&self, path: &str) -> Vec<u8> {
        let response = self.request("GET", path).send().await.expect("an answer");
        assert_eq!(response.status(), 200, "{path}");
        response.bytes().await.expect("a body").to_vec()
    }

    pub async fn coql(&self, query: &str) -> Answer {
        self.post("/crm/v8/coql", &json!({"select_query": query})).await
    }

    /// Moves the emulator's clock.
    pub fn advance(&self, seconds: i64) {
        self.emulator.app().clock.advance_ms(seconds * 1_000);
    }
}

async fn fetch_token(http: &reqwest::Client, base: &str) -> String {
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", "1000.EMULATOR"),
        ("client_secret", "emulator-secret"),
        ("refresh_token", "1000.emulator.refresh"),
    ];
    let url = format!("{base}/oauth/v2/token");
    let response = http.post(url).form(&form).send().await.expect("an answer");
    let body: Value = serde_json::from_slice(&response.bytes().await.expect("a body")).expect("JSON");
    body["access_token"].as_str().expect("a token").to_owned()
}

pub async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    let body = response.bytes().await.expect("a body");
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).expect("JSON") };
    (status, body)
}

/// The records of the only CSV in a zip, header first.
pub fn csv_of(zip: &[u8]) -> (String, Vec<csv::StringRecord>) {
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(zip)).expect("a zip");
    let entry = archive.by_index(0).expect("one file");
    let name = entry.name().expect("a name").into_owned();
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(entry);
    (name, reader.records().collect::<Result<_, _>>().expect("CSV"))
}
