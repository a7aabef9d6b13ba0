//! The worker: hello, choose or be told, then one assignment after the other until the run has ended.
//!
//! Everything that waits for the appliance waits as long as it takes and says so; a run goes on at the step where it was,
//! because the appliance keeps it.
//!
//! Must not know: how pages look, how an action is done.

use std::cell::RefCell;
use std::time::Duration;

use super::clock::{self, Clock};
use super::failure::{chain, failure, of_client};
use super::find::find;
use super::identity::{self, Records};
use super::link::{Interrupted, Link};
use super::network::Kept;
use super::perform::{self, Work, perform};
use super::receipt::ReceiptKey;
use super::report::{Lines, Reporter};
use super::restart::owns_the_machine;
use super::settings::Settings;
use super::wizard::{Down, Order, Told};
use crate::api::runner::{
    AskNext, DestinationDisk, DeviceFacts, Failure, Hello, Next, Offer, Outcome, PROTOCOL, RunTicket,
    SeenOffer, StartRun, Welcome,
};
use crate::api::sign_in::{SignIn, SignOut, SignedIn};
use crate::client::{Client, ClientError, Patience};

/// How often the list of offers is asked again while somebody looks at it.
const REFRESH: Duration = Duration::from_secs(15);

/// How long a problem stands on screen before the runner tries again by itself.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often an appliance that was found by itself is tried before it is looked for again: about half a minute.
const TRIES_OF_FOUND: u32 = 8;
/// Pause before this Mac introduces itself again because its token is not known any more.
const REINTRODUCE: Duration = Duration::from_secs(5);

/// Why a session ended.
enum Leave {
    /// The machine shall go down.
    Down(Down),
    /// Begin again: where is the appliance, hello.
    Again,
    /// Show this and wait for a person.
    Trouble(Box<Failure>),
}

impl Leave {
    fn from_interrupted(doing: &str, interrupted: Interrupted) -> Leave {
        match interrupted {
            Interrupted::Down(down) => Leave::Down(down),
            Interrupted::Moved | Interrupted::Unanswered => Leave::Again,
            Interrupted::Refused(error) => Leave::Trouble(Box::new(of_client(doing, &error))),
        }
    }
}

/// Works until the machine is to go down; how.
pub fn work(settings: &Settings, link: &Link) -> Down {
    let key = match ReceiptKey::generate() {
        Ok(key) => key,
        Err(error) => {
            let trouble = failure("this Mac cannot introduce itself", error.to_string(), "Restart this Mac.");
            link.tell(Told::Trouble(trouble));
            loop {
                if let Order::Down(down) = link.wait_for_order() {
                    return down;
                }
            }
        }
    };
    let (clock, line) = match owns_the_machine() {
        true => Clock::from_ntp(&settings.ntp_servers),
        false => (Clock::default(), None),
    };
    if let Some(line) = line {
        link.tell(Told::Lines(vec![line]));
    }
    let worker = Worker {
        settings,
        link,
        key,
        clock,
        found: RefCell::default(),
        health: RefCell::default(),
        technician: RefCell::default(),
        finished: RefCell::default(),
        lines: Lines::default(),
    };
    loop {
        match worker.session() {
            Leave::Down(down) => return go_down(link, down),
            Leave::Again => {}
            Leave::Trouble(trouble) => {
                tracing::warn!(cause = trouble.cause, evidence = trouble.evidence, "the runner cannot go on");
                link.tell(Told::Trouble(*trouble));
                // Without a keyboard nobody can say "try again"; whatever it was may be mended by now.
                if let Some(Order::Down(down)) = link.order(PATIENCE) {
                    return go_down(link, down);
                }
            }
        }
    }
}

fn go_down(link: &Link, down: Down) -> Down {
    link.tell(Told::GoingDown(down));
    down
}

struct Worker<'a> {
    settings: &'a Settings,
    link: &'a Link,
    key: ReceiptKey,
    /// The clock of this Mac.
    clock: Clock,
    /// The appliance that was found last, when nobody named one.
    found: RefCell<Option<String>>,
    /// What its disks said of themselves.
    health: RefCell<Records>,
    /// Who logged in here.
    technician: RefCell<Option<SignedIn>>,
    /// What was done last: not done again, whatever gets lost on the way to the appliance.
    finished: RefCell<Option<perform::Finished>>,
    /// What it logged, and how much of that has arrived.
    lines: Lines,
}

/// Why the appliance refused, in its words.
fn problem_of(error: &ClientError) -> String {
    match error {
        ClientError::Refused { problem, .. } if problem.next_step.is_empty() => problem.error.clone(),
        ClientError::Refused { problem, .. } => format!("{}; {}", problem.error, problem.next_step),
        other => other.to_string(),
    }
}

impl Worker<'_> {
    fn session(&self) -> Leave {
        let (Ok(end) | Err(end)) = self.try_session();
        end
    }

    fn try_session(&self) -> Result<Leave, Leave> {
        self.link.desk().follows_none();
        let (server, proxy) = (self.server()?, self.link.place().proxy);
        let client = Client::https_through(proxy.as_deref(), &server, &self.settings.ca, None)
            .map_err(|error| {
                Leave::Trouble(Box::new(of_client("the appliance cannot be addressed", &error)))
            })?
            .with_patience(Patience::NONE);
        let (mut welcome, mut machine) = self.hello(&client)?;
        if welcome.run.is_none() {
            self.tell_offers(&welcome);
        }
        let ticket = loop {
            if let Some(ticket) = welcome.run.take() {
                break ticket;
            }
            match self.link.order(REFRESH) {
                Some(Order::Down(down)) => return Err(Leave::Down(down)),
                Some(Order::Moved(_)) => return Err(Leave::Again),
                Some(Order::LogIn(typed)) => self.log_in(&client, &welcome, &typed),
                Some(Order::LogOut) => {
                    self.log_out(&client, &welcome);
                    self.tell_offers(&welcome);
                }
                Some(Order::Start(deployment, seen)) => {
                    match self.start(&client, &welcome, deployment, seen)? {
                        Some(ticket) => break ticket,
                        None => (welcome, machine) = self.hello(&client)?,
                    }
                }
                _ => {
                    (welcome, machine) = self.hello(&client)?;
                    if welcome.run.is_none() {
                        self.tell_offers(&welcome);
                    }
                }
            }
        };
        self.follow(&client.with_token(ticket.token.clone()), &ticket, &welcome, &machine)
    }

    /// Where the appliance is: as a person said, as the boot medium says, as it says itself.
    fn server(&self) -> Result<String, Leave> {
        let place = self.link.place();
        if let Err(error) = Kept::keep_place(&self.settings.state, &place) {
            tracing::warn!("{}", chain(&error));
        }
        let found = self.found.borrow().clone();
        if let Some(server) = place.server.or_else(|| self.settings.server.clone()).or(found) {
            return Ok(server);
        }
        self.tell_machine(&mut None);
        let found = find(self.link, &self.settings.ca, self.settings.unattended)
            .map_err(|interrupted| Leave::from_interrupted("no appliance was found", interrupted))?;
        self.found.replace(Some(found.clone()));
        Ok(found)
    }

    /// Looks at this Mac, and tells when it is not what was shown last.
    fn tell_machine(&self, shown: &mut Option<DeviceFacts>) -> DeviceFacts {
        let mut machine = identity::facts(&self.settings.root, self.settings.boot_interface);
        self.health.borrow_mut().fill(&self.settings.root, &mut machine.disks);
        if shown.as_ref() != Some(&machine) {
            self.link.tell(Told::Machine(Box::new(machine.clone())));
            *shown = Some(machine.clone());
        }
        machine
    }

    /// An appliance that only said itself where it is may be somewhere else by now: after some tries it is looked for again.
    fn tries(&self) -> u32 {
        let named = self.link.place().server.is_some() || self.settings.server.is_some();
        if named { u32::MAX } else { TRIES_OF_FOUND }
    }

    /// What starts by itself, and what the technician who logged in may choose besides.
    fn tell_offers(&self, welcome: &Welcome) {
        let mut offers = welcome.offers.clone();
        let mut why_empty = welcome.why_empty.clone();
        if let Some(technician) = self.technician.borrow().as_ref() {
            let new = |offer: &&Offer| !offers.iter().any(|known| known.deployment == offer.deployment);
            let more: Vec<Offer> = technician.offers.iter().filter(new).cloned().collect();
            offers.extend(more);
            why_empty.clone_from(&technician.why_empty);
        }
        self.link.tell(Told::Offers {
            appliance: welcome.appliance.clone(),
            offers,
            why_empty,
            log_in: welcome.sign_in.clone(),
        });
    }

    /// A technician says who they are. What comes of it is told; the page asks again where it is nothing.
    fn log_in(&self, client: &Client, welcome: &Welcome, typed: &SignIn) {
        let session = client.with_token(welcome.session.clone());
        match session.post::<_, SignedIn>("/runner/v1/sign-in", typed) {
            Ok(signed_in) => {
                self.link.tell(Told::LoggedIn { name: signed_in.name.clone(), role: signed_in.role });
                self.link.desk().logged_in(Some(signed_in.pass.clone()));
                self.technician.replace(Some(signed_in));
                self.tell_offers(welcome);
            }
            Err(error) => self.link.tell(Told::NotTaken(problem_of(&error))),
        }
    }

    fn log_out(&self, client: &Client, welcome: &Welcome) {
        if let Some(technician) = self.technician.replace(None) {
            let session = client.with_token(welcome.session.clone());
            // A pass that could not be given back expires.
            if let Err(error) = session.say("/runner/v1/sign-out", &SignOut { pass: technician.pass }) {
                tracing::info!(%error, "the appliance was not told that the technician left");
            }
        }
        self.link.desk().logged_in(None);
        self.link.tell(Told::LoggedOut { why: None });
    }

    /// Introduces this Mac, looked at anew at every try: a disk or cable may have come. A clock that makes the certificate
    /// invalid is set first.
    fn hello(&self, client: &Client) -> Result<(Welcome, DeviceFacts), Leave> {
        let mut clock_was_set = false;
        let mut shown = None;
        let what = format!("Looking for the appliance at {}", client.address());
        let answered = self.link.persist_within(self.tries(), &what, || {
            let machine = self.tell_machine(&mut shown);
            let hello = self.introduce(machine.clone());
            let answer = match client.post::<_, Welcome>("/runner/v1/hello", &hello) {
                Err(ClientError::Untrusted { clock: true, .. }) if !clock_was_set && owns_the_machine() => {
                    clock_was_set = true;
                    self.link
                        .tell(Told::Lines(vec![clock::from_appliance(client.address(), &self.settings.ca)]));
                    client.post("/runner/v1/hello", &hello)
                }
                answer => answer,
            };
            answer.map(|welcome| (welcome, machine))
        });
        let doing = "the appliance does not take this Mac";
        let (welcome, machine) = answered.map_err(|interrupted| {
            self.found.replace(None);
            Leave::from_interrupted(doing, interrupted)
        })?;
        self.link.desk().greeted(client.with_token(welcome.session.clone()));
        if let Some(layout) = welcome.keyboard.clone() {
            self.link.tell(Told::Keyboard(layout));
        }
        if owns_the_machine()
            && let Some(line) = self.clock.follow(welcome.now_ms)
        {
            self.link.tell(Told::Lines(vec![line]));
        }
        Ok((welcome, machine))
    }

    fn introduce(&self, device: DeviceFacts) -> Hello {
        Hello {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            boot: self.settings.boot,
            device,
            receipt_key: self.key.public(),
            boot_id: identity::boot_id(&self.settings.root),
        }
    }

    /// None: somebody started one from afar just now, which the next greeting names.
    fn start(
        &self,
        client: &Client,
        welcome: &Welcome,
        deployment: i64,
        seen: SeenOffer,
    ) -> Result<Option<RunTicket>, Leave> {
        let session = client.with_token(welcome.session.clone());
        let pass = self.technician.borrow().as_ref().map(|technician| technician.pass.clone());
        let start = StartRun { deployment, pass, seen: Some(seen).filter(|seen| seen.revision > 0) };
        let started = self.link.persist("Starting the run", || session.post("/runner/v1/runs", &start));
        match started {
            Ok(ticket) => Ok(Some(ticket)),
            // The session is over: introduce this Mac again, the list is fresh then.
            Err(Interrupted::Refused(error)) if error.status() == Some(401) => Err(Leave::Again),
            // The log in has expired, or nobody has logged in.
            Err(Interrupted::Refused(error)) if error.status() == Some(403) && welcome.sign_in.is_some() => {
                self.technician.replace(None);
                self.link.desk().logged_in(None);
                self.link.tell(Told::LoggedOut { why: Some(problem_of(&error)) });
                Err(Leave::Again)
            }
            Err(Interrupted::Refused(error)) if error.status() == Some(409) => {
                let (again, _) = self.hello(client)?;
                match again.run {
                    Some(_) => Ok(None),
                    None => Err(Leave::from_interrupted(
                        "the run could not be started",
                        Interrupted::Refused(error),
                    )),
                }
            }
            Err(other) => Err(Leave::from_interrupted("the run could not be started", other)),
        }
    }

    fn ask(&self, disks: Vec<DestinationDisk>) -> AskNext {
        AskNext { boot: self.settings.boot, disks }
    }

    /// Looks at the disks of this Mac anew; what they are called from now on is what a person saw.
    fn destinations(&self, machine: &mut DeviceFacts) -> Vec<DestinationDisk> {
        *machine = self.tell_machine(&mut Some(machine.clone()));
        super::destinations::destinations(&machine.disks)
    }

    /// The appliance does not take requests of this run any more. When only the token is unknown (it was replaced by a newer
    /// one), hello gives a new one and the run goes on.
    fn lost(&self, interrupted: Interrupted) -> Leave {
        match interrupted {
            Interrupted::Refused(error) if error.status() == Some(401) => {
                let what = "Introducing this Mac again".to_owned();
                self.link.tell(Told::Waiting { what, error: Some(error.to_string()) });
                match self.link.order(REINTRODUCE) {
                    Some(Order::Down(down)) => Leave::Down(down),
                    _ => Leave::Again,
                }
            }
            other => Leave::from_interrupted("the appliance does not go on with the run", other),
        }
    }

    /// Waits for a person, here or at the appliance: a failed run may be told to go on, another one be started. None: it goes on.
    fn wait_for_resumption(&self, client: &Client, path: &str, outcome: Outcome) -> Option<Leave> {
        loop {
            match self.link.order(REFRESH) {
                Some(Order::Down(down)) => return Some(Leave::Down(down)),
                None | Some(Order::Look) => {}
                Some(_) => return Some(Leave::Again),
            }
            let asked =
                (outcome == Outcome::Failed).then(|| client.post::<_, Next>(path, &self.ask(Vec::new())));
            if let Some(Ok(Next::Act(_) | Next::Wait { .. })) = asked {
                return None;
            }
            let hello = self.introduce(self.tell_machine(&mut None));
            if let Ok(welcome) = client.post::<_, Welcome>("/runner/v1/hello", &hello) {
                self.link.desk().greeted(client.with_token(welcome.session));
                if welcome.run.is_some() {
                    return Some(Leave::Again);
                }
            }
        }
    }

    /// One assignment after the other.
    fn follow(
        &self,
        client: &Client,
        run: &RunTicket,
        welcome: &Welcome,
        machine: &DeviceFacts,
    ) -> Result<Leave, Leave> {
        let started = || Told::Started { run: run.run, sequence: run.sequence.clone(), steps: run.steps };
        self.link.desk().follows(run.run, client);
        self.link.tell(started());
        let path = format!("/runner/v1/runs/{}/next", run.run);
        let mut machine = machine.clone();
        let mut disks: Option<Vec<DestinationDisk>> = None;
        let lost = |interrupted| self.lost(interrupted);
        loop {
            let next: Next = self
                .link
                .persist("Asking the appliance what comes next", || {
                    client.post(&path, &self.ask(disks.clone().unwrap_or_default()))
                })
                .map_err(lost)?;
            match next {
                Next::Act(assignment) => {
                    let (step, steps) = (assignment.step, assignment.steps);
                    self.link.tell(Told::Step { step, steps, name: assignment.name.clone() });
                    let (number, news) = (assignment.number, self.link.news());
                    let work = Work {
                        client,
                        link: self.link,
                        reporter: &Reporter::new(client, run, number, &self.lines, news),
                        machine: &machine,
                        run,
                        number,
                        manifest_keys: &welcome.manifest_keys,
                        key: &self.key,
                        state: &self.settings.state,
                        root: &self.settings.root,
                        deadline: perform::deadline(assignment.timeout),
                        limit: assignment.timeout,
                        finished: &self.finished,
                    };
                    if perform(&work, &assignment.action).map_err(lost)? == perform::Outcome::Restart {
                        return Ok(Leave::Down(Down::Restart));
                    }
                }
                // Where an image goes: the appliance is told what there is, and asks for one of that.
                Next::Wait { question: Some(question), .. }
                    if disks.is_none() && question.destination.is_some() =>
                {
                    disks = Some(self.destinations(&mut machine));
                }
                Next::Wait { seconds, why, question } => {
                    let where_to = question.as_ref().is_some_and(|asked| asked.destination.is_some());
                    let asks = question.is_some();
                    self.link.tell(match question {
                        Some(question) => Told::Asked(*question),
                        None => Told::Waiting { what: why, error: None },
                    });
                    match self.link.order(Duration::from_secs(seconds.clamp(1, 60).into())) {
                        Some(Order::Down(down)) => return Ok(Leave::Down(down)),
                        Some(Order::Moved(_)) => return Ok(Leave::Again),
                        _ => {}
                    }
                    if !asks {
                        self.link.tell(Told::GoesOn);
                    }
                    // A disk may have come or gone meanwhile.
                    disks = where_to.then(|| self.destinations(&mut machine));
                }
                Next::Finished { outcome, message, failure, can_resume, failed_step } => {
                    self.link.tell(Told::Ended { outcome, message, failure, can_resume, failed_step });
                    if let Some(leave) = self.wait_for_resumption(client, &path, outcome) {
                        return Ok(leave);
                    }
                    self.link.tell(started());
                }
            }
        }
    }
}
