//! The walk itself: each step asks, tells what came, and ends the walk where a Mac would stop.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::Duration;

use super::read::{
    Listed, Script, describe, http_root, in_words, kernelcaches, obstacle, tftp_remedy, winner,
};
use crate::cli::finding::{Finding, chain};
use crate::client::dhcp::{AskError, Heard, Ports, ask};
use crate::client::plain;
use crate::client::tftp::{self, Wish};
use crate::netboot::bsdp::told::{DISCOVER, Told, ask_list, ask_select};
use crate::netboot::bsdp::{ImageId, MessageType as Bsdp};
use crate::netboot::dhcp::{CLIENT_PORT, MessageType, Request, SERVER_PORT, code};
use crate::netboot::nbi::Program;
use crate::value::model;
use crate::value::{ByteSize, MacAddr, Model};

/// TFTP's port (RFC 1350).
const TFTP: u16 = 69;
/// What Apple's firmware asks for, as far as is known.
const BLOCK: u16 = 1468;
/// Larger than any booter: Apple's has 0.7 MB, iPXE 1 MB.
const LARGEST_BOOTER: usize = 64 << 20;
/// As much of a large file as shows that it comes.
const HEAD: u64 = 1 << 20;
/// Patience for a connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// Reply ports to try when 68 is taken (BSDP option 5 wants one below 1024).
const REPLY_PORTS: std::ops::Range<u16> = 980..1000;

/// A simulated Mac and where it stands.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Interface to ask through.
    pub interface: String,
    /// Its address: the simulated Mac's.
    pub address: Ipv4Addr,
    /// Every address of this machine.
    pub own: Vec<Ipv4Addr>,
    /// The simulated Mac's hardware address.
    pub mac: MacAddr,
    /// Its model.
    pub model: Model,
    /// Its architecture.
    pub arch: String,
    /// The only server that is asked.
    pub server: Option<Ipv4Addr>,
    /// The server's HTTP port.
    pub http_port: u16,
    /// How long answers to a broadcast are waited for.
    pub wait: Duration,
}

/// What a confirmed Mac was told.
struct Confirmed {
    tftp: Ipv4Addr,
    file: String,
    root: Option<String>,
}

/// `Err` ends the walk; what is in it was the last step.
type Step<T> = Result<T, Finding>;

/// Walks until a Mac would stop. Each step is told as soon as it is known.
pub fn walk(probe: &Probe, tell: &mut dyn FnMut(Finding)) {
    if let Err(end) = steps(probe, tell) {
        tell(end);
    }
}

fn steps(probe: &Probe, tell: &mut dyn FnMut(Finding)) -> Step<()> {
    tell(probe.itself());
    tell(probe.discover());
    let listed = probe.list(tell)?;
    let confirmed = probe.select(&listed, tell)?;
    probe.booter(&confirmed, tell)?;
    match &confirmed.root {
        Some(root) => probe.apple(&confirmed, root, tell),
        None => probe.ipxe(&confirmed, tell),
    }
}

impl Probe {
    fn class(&self) -> String {
        format!("AAPLBSDPC/{}/{}", self.arch, self.model)
    }

    /// A transaction id that differs from step to step and from Mac to Mac, without needing chance.
    fn xid(&self, step: u8) -> u32 {
        let [.., a, b, c] = *self.mac.as_bytes();
        u32::from_be_bytes([a ^ 0x52, b, c, step]) ^ std::process::id().rotate_left(8)
    }

    fn itself(&self) -> Finding {
        let known = model::by_identifier(self.model.as_str());
        let name = known.map_or("a model that is not known here", |known| known.name);
        let text = format!("{} ({name}), {} at {} on {}", self.model, self.mac, self.address, self.interface);
        match known.and_then(|known| known.obstacle()) {
            None => Finding::ok("Mac", text),
            Some(obstacle) => {
                let remedy = known.map_or("", |known| known.imaging().in_words());
                Finding::warning("Mac", format!("{text}: {obstacle}"), format!("image it this way: {remedy}"))
            }
        }
    }

    /// DISCOVER: who would give an address, and who already knows this Mac. The walk goes on without an answer: the
    /// interface has an address.
    fn discover(&self) -> Finding {
        const TOPIC: &str = "DISCOVER";
        let request = Request::new(MessageType::Discover, self.mac, self.xid(1))
            .broadcast()
            .wants(&[1, 3, 67, 43, 60])
            .class(&self.class())
            .vendor(DISCOVER);
        let asked = || ask(&self.interface, &request, Ports::BROADCAST, self.wait);
        // One packet may be lost, and a server that probes the address first takes its time: as a Mac, ask again.
        let heard = match asked().and_then(|heard| if heard.is_empty() { asked() } else { Ok(heard) }) {
            Ok(heard) => heard,
            Err(error) => {
                return Finding::warning(TOPIC, format!("was not asked: {}", chain(&error)), "");
            }
        };
        let facts: Vec<String> = heard.iter().map(describe).collect();
        let leases = |heard: &&Heard| heard.packet().is_ok_and(|packet| !packet.yiaddr.is_unspecified());
        match heard.iter().find(leases) {
            Some(server) => {
                Finding::ok(TOPIC, format!("{} offers an address", server.server())).with(facts)
            }
            None => Finding::warning(
                TOPIC,
                "no DHCP server offers an address: a Mac that has none goes no further",
                "check the site's DHCP server and its pool, or let Rootstock lease addresses ([dhcp] in the settings)",
            )
            .with(facts),
        }
    }

    fn inform(&self, step: u8, body: &[u8]) -> Request {
        Request::new(MessageType::Inform, self.mac, self.xid(step))
            .ciaddr(self.address)
            .wants(&[1, 3, 67, 43, 60])
            .class(&self.class())
            .vendor(body)
    }

    /// Asks whoever may have an answer: everyone on the wire, and the server on this machine, which the wire's
    /// socket does not hear.
    fn ask_all(
        &self,
        step: u8,
        body: impl Fn(Option<u16>) -> Vec<u8> + Sync,
    ) -> Result<Vec<Heard>, AskError> {
        let is_own = |server: Ipv4Addr| self.own.contains(&server);
        let loop_to = match self.server {
            None => Some(self.address),
            Some(server) => Some(server).filter(|server| is_own(*server)),
        };
        let wire_to = match self.server {
            None => Some(Ipv4Addr::BROADCAST),
            Some(server) => Some(server).filter(|server| !is_own(*server)),
        };
        let one = |interface: &str, to: Ipv4Addr| {
            let ask_from = |own: u16, port: Option<u16>| {
                let ports = Ports { own, to: SocketAddrV4::new(to, SERVER_PORT) };
                ask(interface, &self.inform(step, &body(port)), ports, self.wait)
            };
            match ask_from(CLIENT_PORT, None) {
                Err(AskError::Taken(_)) => REPLY_PORTS
                    .map(|port| ask_from(port, Some(port)))
                    .find(|asked| !matches!(asked, Err(AskError::Taken(_))))
                    .unwrap_or(Err(AskError::Taken(CLIENT_PORT))),
                asked => asked,
            }
        };
        let (wire, own) = std::thread::scope(|scope| {
            let own = loop_to.map(|to| scope.spawn(move || one("lo", to)));
            let wire = wire_to.map(|to| one(&self.interface, to));
            (wire, own.and_then(|own| own.join().ok()))
        });
        let mut heard = match (wire, own) {
            (Some(wire), own) => [wire?, own.and_then(Result::ok).unwrap_or_default()].concat(),
            (None, Some(own)) => own?,
            (None, None) => Vec::new(),
        };
        heard.sort_by_key(|heard| heard.after);
        Ok(heard)
    }

    fn list(&self, tell: &mut dyn FnMut(Finding)) -> Step<Listed> {
        const TOPIC: &str = "LIST";
        let heard = self.ask_all(2, ask_list).map_err(|error| Finding::fails(TOPIC, chain(&error), ""))?;
        let facts: Vec<String> = heard.iter().map(describe).collect();
        let mut listed: Vec<Listed> = Vec::new();
        for heard in &heard {
            let told = heard.packet().ok().and_then(|packet| Told::read(&packet));
            listed.extend(told.map(|told| Listed { server: heard.server(), told }));
        }
        if let Some(server) = self.server {
            listed.retain(|one| one.server == server || heard.iter().any(|heard| *heard.from.ip() == server));
        }
        let Some(won) = winner(&listed) else {
            let (text, remedy) = match heard.is_empty() {
                true => (
                    "no server answers",
                    "on the appliance: `rootstock doctor`, and `rootstock client show MAC` for the reason of its silence; between \
                     here and there: UDP 67 and 68, and an IP helper for its address on the router",
                ),
                false => ("an answer came that a Mac does not understand", "see its facts"),
            };
            return Err(Finding::fails(TOPIC, text, remedy).with(facts));
        };
        let text =
            format!("{} offers {} sets; a Mac takes {}", won.server, won.told.images.len(), won.name());
        tell(Finding::ok(TOPIC, text).with(facts));
        Ok(won.clone())
    }

    fn select(&self, listed: &Listed, tell: &mut dyn FnMut(Finding)) -> Step<Confirmed> {
        const TOPIC: &str = "SELECT";
        let image = listed.image().unwrap_or(ImageId::from(0));
        let heard = self
            .ask_all(3, |port| ask_select(listed.server, image, port))
            .map_err(|error| Finding::fails(TOPIC, chain(&error), ""))?;
        let facts: Vec<String> = heard.iter().map(describe).collect();
        let Some(heard) = heard.iter().find(|heard| heard.server() == listed.server) else {
            return Err(Finding::fails(
                TOPIC,
                format!("{} does not answer the choice of {image}", listed.server),
                "on the appliance: rootstock client show MAC tells why",
            )
            .with(facts));
        };
        let malformed = |what: &str| Finding::fails(TOPIC, what, "see its facts").with(facts.clone());
        let packet = heard.packet().map_err(|error| malformed(&error.to_string()))?;
        let told = Told::read(&packet).ok_or_else(|| malformed("the answer is not BSDP"))?;
        if told.kind == Some(Bsdp::Failed) {
            let remedy = "the set has just gone, or does not admit this model and address: look at its NBImageInfo.plist";
            return Err(Finding::fails(TOPIC, format!("{image} is refused (FAILED)"), remedy).with(facts));
        }
        let file = String::from_utf8_lossy(packet.file).into_owned();
        if file.is_empty() || packet.siaddr.is_unspecified() {
            return Err(malformed(
                "the answer names no TFTP server or no file in its header: some Macs start nothing",
            ));
        }
        let root = packet.option(code::ROOT_PATH).map(|root| String::from_utf8_lossy(&root).into_owned());
        let text = format!("told to fetch {file} from {}", packet.siaddr);
        let more = root
            .iter()
            .map(|root| format!("root path {root}"))
            .chain(told.machine_name.map(|n| format!("name {n}")));
        tell(Finding::ok(TOPIC, text).with(facts).with(more));
        Ok(Confirmed { tftp: packet.siaddr, file, root })
    }

    fn booter(&self, confirmed: &Confirmed, tell: &mut dyn FnMut(Finding)) -> Step<()> {
        const TOPIC: &str = "TFTP";
        let wish = Wish { file: &confirmed.file, block_size: BLOCK, window: 1, most: LARGEST_BOOTER };
        let got = tftp::fetch(SocketAddrV4::new(confirmed.tftp, TFTP), wish)
            .map_err(|error| Finding::fails(TOPIC, chain(&error), tftp_remedy(&error)))?;
        let kind = Program::of(&got.bytes, got.bytes.len() as u64);
        let facts = [
            format!(
                "blocks of {} bytes from port {}, {} repeated",
                got.block_size,
                got.from.port(),
                got.repeated
            ),
            format!("it is {}", in_words(kind)),
        ];
        let size = ByteSize(got.bytes.len() as u64);
        let text = format!("{}: {size} in {:.1} s", confirmed.file, got.took.as_secs_f32());
        let known = model::by_identifier(self.model.as_str());
        let Some(obstacle) = obstacle(kind, known) else {
            tell(Finding::ok(TOPIC, text).with(facts));
            return Ok(());
        };
        let (text, remedy) =
            (format!("{text}, but {obstacle}"), "make the boot files again: rootstock media boot");
        // Nothing more is proven by stopping here: servers and files after it can still be looked at.
        tell(Finding::warning(TOPIC, text, remedy).with(facts));
        Ok(())
    }

    /// The rest of the way of a set without root path: iPXE's script, kernel, boot environment, runner.
    fn ipxe(&self, confirmed: &Confirmed, tell: &mut dyn FnMut(Finding)) -> Step<()> {
        let port = if self.http_port == 80 { String::new() } else { format!(":{}", self.http_port) };
        let url = format!("http://{}{port}/boot/ipxe?mac={}", confirmed.tftp, self.mac);
        let got = fetch("HTTP", &url, 64 << 10)?;
        let Some(script) = Script::read(&String::from_utf8_lossy(&got.bytes)) else {
            return Err(Finding::fails(
                "HTTP",
                format!("{url} is no iPXE script (status {})", got.status),
                "is this a Rootstock appliance?",
            ));
        };
        let (Some(kernel), Some(initrd)) = (&script.kernel, &script.initrd) else {
            return Err(Finding::fails(
                "HTTP",
                script.says.join("; "),
                "on the appliance: rootstock media boot",
            ));
        };
        tell(Finding::ok("HTTP", format!("{url}: the script names kernel and boot environment")));
        // Linux boot protocol: `HdrS` at 0x202 of a bzImage.
        fetched("kernel", kernel, |bytes| bytes.get(0x202..0x206) == Some(b"HdrS"), "a Linux kernel", tell)?;
        // RFC 8878: the magic number of a Zstandard frame.
        fetched(
            "initramfs",
            initrd,
            |bytes| bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]),
            "packed with zstd",
            tell,
        )?;
        match &script.server {
            Some(server) => {
                tell(reachable(server)?);
                Ok(())
            }
            None => Err(Finding::fails(
                "HTTPS",
                "the script names no appliance for the runner",
                "update the appliance",
            )),
        }
    }

    /// The rest of the way of Apple's sets: kernelcache by TFTP, root image over HTTP.
    fn apple(&self, confirmed: &Confirmed, root: &str, tell: &mut dyn FnMut(Finding)) -> Step<()> {
        let server = SocketAddrV4::new(confirmed.tftp, TFTP);
        let mut last = None;
        let found = kernelcaches(&confirmed.file).into_iter().find_map(|file| {
            let wish = Wish { file: &file, block_size: BLOCK, window: 1, most: HEAD as usize };
            match tftp::fetch(server, wish) {
                Ok(got) => Some((file, got)),
                Err(error) => {
                    last = Some(error);
                    None
                }
            }
        });
        match (found, last) {
            (Some((file, got)), _) => {
                let size = got.size.map_or("unknown size".to_owned(), |size| ByteSize(size).to_string());
                tell(Finding::ok("kernelcache", format!("{file}: {size}")));
            }
            (None, Some(error)) => {
                return Err(Finding::fails("kernelcache", chain(&error), tftp_remedy(&error)));
            }
            (None, None) => {}
        }
        let Some(url) = http_root(root) else {
            tell(Finding::warning(
                "root image",
                format!("{root} is not HTTP and was not looked at"),
                "mount it from a machine in the Macs' network",
            ));
            return Ok(());
        };
        let got = fetch("root image", url, HEAD)?;
        if !got.ranges || got.bytes.is_empty() {
            let text = format!("{url}: status {}, no pieces are delivered", got.status);
            return Err(Finding::fails(
                "root image",
                text,
                "a Mac attaches the image by ranges: the file must be there, and its server know ranges",
            ));
        }
        let size = got.size.map_or("unknown size".to_owned(), |size| ByteSize(size).to_string());
        tell(Finding::ok("root image", format!("{url}: {size}, delivered in pieces")));
        Ok(())
    }
}

fn fetch(topic: &str, url: &str, most: u64) -> Step<plain::Head> {
    let got = plain::head(url, most, PATIENCE).map_err(|error| {
        Finding::fails(
            topic,
            chain(&error),
            "TCP 80 of the server is blocked, or its HTTP has another port (--http-port)",
        )
    })?;
    if matches!(got.status, 200 | 206) {
        return Ok(got);
    }
    Err(Finding::fails(
        topic,
        format!("{url} gives status {}", got.status),
        "the file is not in the server's boot folder: rootstock media boot",
    ))
}

fn fetched(
    topic: &str,
    url: &str,
    is_good: impl Fn(&[u8]) -> bool,
    what: &str,
    tell: &mut dyn FnMut(Finding),
) -> Step<()> {
    let got = fetch(topic, url, HEAD)?;
    let size = got.size.map_or("unknown size".to_owned(), |size| ByteSize(size).to_string());
    if !is_good(&got.bytes) {
        let remedy = "make the boot files again on the appliance: rootstock media boot";
        return Err(Finding::fails(topic, format!("{url}: {size}, but not {what}"), remedy));
    }
    tell(Finding::ok(topic, format!("{url}: {size}, {what}")));
    Ok(())
}

/// Whether the runner could connect. Whom it would trust is in the initramfs and cannot be seen from here.
fn reachable(server: &str) -> Step<Finding> {
    const TOPIC: &str = "HTTPS";
    let rest = server.trim_start_matches("https://").trim_end_matches('/');
    let (host, port) = rest
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host, port.parse().ok()?)))
        .unwrap_or((rest, 443));
    let Ok(address) = host.parse::<IpAddr>() else {
        return Ok(Finding::warning(
            TOPIC,
            format!("{server} is a name; the booted Mac must be able to look it up"),
            "",
        ));
    };
    match TcpStream::connect_timeout(&SocketAddr::new(address, port), PATIENCE) {
        Ok(_) => Ok(Finding::ok(TOPIC, format!("{server} takes connections: the runner can report there"))),
        Err(error) => {
            let text = format!("{server} takes no connection: {error}");
            Err(Finding::fails(TOPIC, text, format!("open TCP {port} of the appliance")))
        }
    }
}
