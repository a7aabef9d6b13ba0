//! The client against a scripted neighbour on a Unix socket: what is repeated, resumed, refused, bounded.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rootstock::client::{Client, ClientError, HttpFrames, Patience, Watch};
use rootstock::image::restore::{FetchError, Frames, Place};
use rootstock::value::{Digest, Secret};

/// Answers with a refusal as soon as the head of a request is there, and closes.
#[test]
fn a_refusal_that_comes_before_the_body_was_read_is_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sock");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            let problem = r#"{"error":"too late"}"#;
            let head = format!("HTTP/1.1 409 Conflict\r\nContent-Length: {}\r\n\r\n", problem.len());
            stream.write_all((head + problem).as_bytes()).unwrap();
        }
    });
    let client = Client::unix(&path).with_patience(Patience::NONE);
    for length in [1, 1000, 1_000_000] {
        let error = client.post::<_, u8>("/x", &"y".repeat(length)).unwrap_err();
        assert_eq!(error.status(), Some(409), "{error}");
    }
}

/// Gives one canned answer for each connection, in order, and remembers the heads of the requests.
struct Neighbour {
    _folder: tempfile::TempDir,
    path: PathBuf,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Neighbour {
    fn answering(answers: Vec<Vec<u8>>) -> Neighbour {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sock");
        let listener = UnixListener::bind(&path).unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = heads.clone();
        thread::spawn(move || {
            for answer in answers {
                let Ok((mut stream, _)) = listener.accept() else { return };
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let (mut head, mut length) = (String::new(), 0);
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) <= 2 {
                        break;
                    }
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    head.push_str(&line);
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                head.push_str(&String::from_utf8(body).unwrap());
                seen.lock().unwrap().push(head);
                let _ = stream.write_all(&answer);
            }
        });
        Neighbour { _folder: folder, path, heads }
    }

    fn client(&self) -> Client {
        let patience = Patience {
            tries: 3,
            first_pause: Duration::from_millis(1),
            longest_pause: Duration::from_millis(2),
        };
        Client::unix(&self.path).with_patience(patience)
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
        .into_bytes()
}

fn part(first: usize, last: usize, total: usize, body: &[u8]) -> Vec<u8> {
    let length = last - first + 1;
    let mut answer = format!(
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {first}-{last}/{total}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )
    .into_bytes();
    answer.extend_from_slice(body);
    answer
}

#[test]
fn a_typed_answer_comes_back_and_the_token_travels_in_the_header() {
    let neighbour = Neighbour::answering(vec![ok("[1,2,3]")]);
    let client = neighbour.client().with_token(Secret::new("t0k3n"));
    assert_eq!(client.get::<Vec<u8>>("/api/v1/list?x=1").unwrap(), [1, 2, 3]);
    let head = neighbour.heads()[0].to_ascii_lowercase();
    assert!(head.starts_with("get /api/v1/list?x=1 http/1.1\r\n"), "{head}");
    assert!(head.contains("authorization: bearer t0k3n"), "{head}");
}

#[test]
fn a_refusal_shows_what_the_appliance_said_and_never_the_token() {
    let problem = r#"{"error":"no image `x`","next_step":"list them with rootstock image list"}"#;
    let answer = format!(
        "HTTP/1.1 404 Not Found\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{problem}",
        problem.len()
    );
    let neighbour = Neighbour::answering(vec![answer.into_bytes()]);
    let error = neighbour.client().with_token(Secret::new("hunter2")).get::<u8>("/x").unwrap_err();
    assert_eq!(error.status(), Some(404));
    let (plain, debug) = (error.to_string(), format!("{error:?}"));
    assert_eq!(plain, "GET /x: refused with status 404: no image `x`; list them with rootstock image list");
    assert!(!plain.contains("hunter2") && !debug.contains("hunter2"));
}

#[test]
fn a_get_is_repeated_when_the_answer_broke_off_and_a_post_is_not() {
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[1".to_vec();
    let neighbour = Neighbour::answering(vec![cut.clone(), ok("[1]"), cut, ok("[2]")]);
    assert_eq!(neighbour.client().get::<Vec<u8>>("/a").unwrap(), [1]);
    let error = neighbour.client().post::<_, Vec<u8>>("/b", &"body").unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { tries: 1, .. }), "{error}");
    let heads = neighbour.heads();
    assert_eq!(heads.len(), 3);
    assert!(heads[2].ends_with("\"body\""), "{}", heads[2]);
}

#[test]
fn a_busy_appliance_is_asked_again_and_a_failing_one_is_not() {
    let busy = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec();
    let broken =
        b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec();
    let neighbour = Neighbour::answering(vec![busy, ok("7"), broken, ok("8")]);
    assert_eq!(neighbour.client().get::<u8>("/").unwrap(), 7);
    let error = neighbour.client().get::<u8>("/").unwrap_err();
    assert_eq!(error.to_string(), "GET /: refused with status 500: Internal Server Error");
}

#[test]
fn a_range_is_resumed_where_it_broke_off() {
    let all: Vec<u8> = (0..100).collect();
    let neighbour = Neighbour::answering(vec![
        part(10, 89, 100, &all[10..40]),
        Vec::new(),
        part(40, 89, 100, &all[40..90]),
    ]);
    assert_eq!(neighbour.client().bytes("/pack", 10..90).unwrap(), &all[10..90]);
    let heads: Vec<_> = neighbour.heads().iter().map(|head| head.to_ascii_lowercase()).collect();
    assert!(heads[0].contains("range: bytes=10-89"), "{}", heads[0]);
    assert!(heads[2].contains("range: bytes=40-89"), "{}", heads[2]);
}

#[test]
fn an_answer_without_the_range_that_was_asked_for_is_not_taken_for_it() {
    let neighbour = Neighbour::answering(vec![ok("0123456789"), part(0, 4, 10, b"01234")]);
    for _ in 0..2 {
        let error = neighbour.client().bytes("/pack", 5..10).unwrap_err();
        assert!(matches!(error, ClientError::Unreadable { .. }), "{error}");
    }
}

#[test]
fn an_answer_beyond_its_bound_is_refused_without_being_held() {
    let neighbour = Neighbour::answering(vec![ok(&"x".repeat(1000))]);
    let error = neighbour.client().download("/manifest", 999).unwrap_err();
    assert!(error.to_string().contains("longer than 999 bytes"), "{error}");
}

#[test]
fn nobody_there_is_said_with_the_place_the_tries_and_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rootstock.sock");
    let patience =
        Patience { tries: 2, first_pause: Duration::from_millis(1), longest_pause: Duration::from_millis(1) };
    let error = Client::unix(&path).with_patience(patience).get::<u8>("/api/v1/status").unwrap_err();
    let text = error.to_string();
    for part in [path.to_str().unwrap(), "GET /api/v1/status", "2 tries", "start rootstockd"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(error.may_pass());
}

fn place(fresh: bool) -> Place {
    Place { pack: Digest::of(b"pack"), offset: 10, fresh }
}

#[test]
fn frames_go_on_at_the_byte_where_the_appliance_went_away_and_say_so_meanwhile() {
    let all: Vec<u8> = (0..100).collect();
    let busy = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec();
    let neighbour =
        Neighbour::answering(vec![part(10, 89, 100, &all[10..40]), busy, part(40, 89, 100, &all[40..90])]);
    let watch = Watch::default();
    let mut bytes = [0; 80];
    HttpFrames::new(&neighbour.client(), &watch).fetch(place(true), &mut bytes).unwrap();
    assert_eq!(bytes, all[10..90]);
    assert_eq!(watch.outage(), None);
    let heads: Vec<_> = neighbour.heads().iter().map(|head| head.to_ascii_lowercase()).collect();
    assert!(
        heads[0].contains("range: bytes=10-89") && heads[0].contains("cache-control: no-cache"),
        "{}",
        heads[0]
    );
    assert!(heads[2].contains("range: bytes=40-89"), "{}", heads[2]);
}

#[test]
fn a_pack_that_is_gone_is_told_from_an_appliance_that_is() {
    let gone = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec();
    let neighbour = Neighbour::answering(vec![gone]);
    let watch = Watch::default();
    let error = HttpFrames::new(&neighbour.client(), &watch).fetch(place(false), &mut [0; 8]).unwrap_err();
    assert!(matches!(error, FetchError::Gone(pack) if pack == Digest::of(b"pack")), "{error}");
}

#[test]
fn frames_wait_for_an_appliance_until_they_are_told_to_stop() {
    let folder = tempfile::tempdir().unwrap();
    let client = Client::unix(folder.path().join("nobody"));
    let watch = Watch::default();
    thread::scope(|scope| {
        let fetch = scope.spawn(|| HttpFrames::new(&client, &watch).fetch(place(false), &mut [0; 8]));
        while watch.outage().is_none() {
            thread::yield_now();
        }
        watch.stop();
        assert!(matches!(fetch.join().unwrap(), Err(FetchError::Failed { .. })));
    });
    assert!(watch.outage().unwrap().contains("did not answer"));
}
