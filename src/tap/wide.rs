//! Reading by column slices: what no single reading brings, by several, merged by id.
//!
//! Each slice is a sequence of its own, ascending by id: queries that go on after their last id, a
//! list of the records API sorted by id, files of Bulk Read. `codec/merge.rs` puts their rows
//! together. Rows that changed between two slices do not fit and are read again, whole, by their ids
//! (`tap/again.rs`). Lists may lose rows between two pages: beside queries or files those rows are
//! read again as well; where the list leads, `tap/list.rs` looks for them.

use super::again;
use super::error::Error;
use super::extract::{CallError, Context, in_stream};
use super::incremental::{self, Asked};
use super::list;
use super::output::StreamOutput;
use super::plan::Way;
use super::reader::{Outcome, Reading};
use super::slices::{Slice, Slices, selection};
use super::state::text;
use crate::codec::decode::DecodeError;
use crate::codec::merge::{Merger, Step};
use crate::zoho::api::records::{Page, RecordsQuery};
use std::io::Read;

/// Rows between two looks at whether we are told to stop.
const LOOK_EVERY: u64 = 1_024;

/// What a slice is fed from.
pub(super) type File = Box<dyn Read + Send>;

/// Why the merger paused.
enum Pause {
    /// This source has to be fed.
    Needs(usize),
    /// Enough rows are torn to be worth a call, or a STATE is due.
    Full,
    /// This source does not ascend.
    Disorder(usize),
    /// Everything that was fed is written.
    End,
}

/// Where a slice stands.
enum Feed {
    /// The next query starts after this id; so many rows are left, if somebody counted.
    Query { after: Option<String>, left: Option<u64>, pages: u32, full: u32 },
    /// The next page of a list.
    List { query: Box<RecordsQuery>, pages: u32 },
    /// Files, which somebody else brings.
    Files,
}

/// What one feeding came to.
enum Fed {
    Yes,
    /// More rows than this way is good for; nothing of them was fed.
    Large,
    /// The way or a column of it is refused.
    No(Outcome),
}

/// A reading by slices on its way.
pub(super) struct Wide<'s> {
    slices: &'s Slices,
    fields: Vec<Vec<String>>,
    feeds: Vec<Feed>,
    merger: Merger<File>,
    torn: Vec<String>,
    listed: list::Listing,
}

/// Reads what is left of the window. `rows` is how many rows that will be, if somebody counted.
pub(super) async fn read(
    context: &Context,
    reading: &mut Reading<'_>,
    output: &mut StreamOutput,
    slices: &Slices,
    rows: Option<u64>,
) -> Result<Outcome, Error> {
    if slices.main == Way::Records {
        reading.progress.begin_again();
    }
    // Whatever Bulk Read was about to do, this goes on from the last id that is out.
    reading.progress.spans.clear();
    reading.progress.created_from = None;
    let mut wide = Wide::new(reading, slices, rows);
    if let Some(outcome) = wide.run(context, reading, output).await? {
        return Ok(outcome);
    }
    if slices.main == Way::Records && wide.pages() > 1 {
        list::catch_slipped(context, reading, output, wide.listed).await?;
    }
    Ok(Outcome::Complete)
}

impl<'s> Wide<'s> {
    /// A reading that goes on behind what is out.
    pub fn new(reading: &Reading<'_>, slices: &'s Slices, rows: Option<u64>) -> Self {
        let columns = &reading.plan.columns;
        let plans: Vec<_> = slices.slices.iter().map(|slice| slice.plan(columns)).collect();
        let fields: Vec<Vec<String>> =
            plans.iter().zip(&slices.slices).map(|(plan, slice)| selection(plan, slice.way)).collect();
        let mut merger = Merger::new(columns, &plans);
        let after = reading.progress.floor().map(str::to_owned);
        let feed = |(at, slice): (usize, &Slice)| match slice.way {
            Way::Records => {
                let query = list::query(reading, fields[at].clone());
                Feed::List { query: Box::new(query), pages: 0 }
            }
            Way::Coql => Feed::Query { after: after.clone(), left: rows, pages: 0, full: u32::MAX },
            Way::BulkRead => Feed::Files,
        };
        let feeds: Vec<Feed> = slices.slices.iter().enumerate().map(feed).collect();
        for (at, slice) in slices.slices.iter().enumerate() {
            // Files were looked through before; their first rows may be out already.
            if slice.way != Way::Coql {
                merger.may_repeat(at);
            }
        }
        if let Some(after) = &after {
            merger.start_after(after);
        }
        Self { slices, fields, feeds, merger, torn: Vec::new(), listed: list::Listing::default() }
    }

    /// Writes one window of Bulk Read: the files of its slices, in their order, and what belongs to
    /// their rows; `up_to` is where the window ends. Answers what follows if it cannot.
    pub async fn window(
        &mut self,
        context: &Context,
        reading: &mut Reading<'_>,
        output: &mut StreamOutput,
        files: Vec<File>,
        up_to: Option<&str>,
    ) -> Result<Option<Outcome>, Error> {
        let stream = &reading.plan.stream;
        let decode = |source: DecodeError| Error::Decode { stream: stream.clone(), source };
        self.merger.until(up_to);
        for (source, file) in files.into_iter().enumerate() {
            self.merger.feed_file(source, file).map_err(decode)?;
        }
        extracted_now(context, output);
        self.run(context, reading, output).await
    }

    /// Feeds and writes until everything is out, or a way is refused or too dear.
    async fn run(
        &mut self,
        context: &Context,
        reading: &mut Reading<'_>,
        output: &mut StreamOutput,
    ) -> Result<Option<Outcome>, Error> {
        loop {
            match tokio::task::block_in_place(|| self.emit(context, reading, output))? {
                Pause::Full => self.settle(context, reading, output).await?,
                Pause::End => {
                    self.settle(context, reading, output).await?;
                    return Ok(None);
                }
                Pause::Disorder(source) => {
                    let way = self.slices.slices[source].way;
                    return Ok(Some(self.refused(reading, way, "its rows do not ascend by id".into())));
                }
                Pause::Needs(source) => match self.feed(context, reading, source).await? {
                    Fed::Yes => extracted_now(context, output),
                    Fed::Large => {
                        self.settle(context, reading, output).await?;
                        let left = incremental::count(context, reading, reading.progress.floor()).await?;
                        return Ok(Some(Outcome::Large(left)));
                    }
                    Fed::No(outcome) => return Ok(Some(outcome)),
                },
            }
        }
    }

    /// Reads torn rows again; then everything up to here is out, and a STATE may say so.
    async fn settle(
        &mut self,
        context: &Context,
        reading: &mut Reading<'_>,
        output: &mut StreamOutput,
    ) -> Result<(), Error> {
        again::read(context, reading, output, std::mem::take(&mut self.torn)).await?;
        self.bookmark(reading);
        if output.is_due() {
            output.checkpoint(reading.bookmark())?;
        }
        Ok(())
    }

    /// Writes rows until something has to be waited for.
    fn emit(
        &mut self,
        context: &Context,
        reading: &Reading<'_>,
        output: &mut StreamOutput,
    ) -> Result<Pause, Error> {
        let stream = &reading.plan.stream;
        let decode = |source: DecodeError| Error::Decode { stream: stream.clone(), source };
        let mut steps = 0u64;
        loop {
            match self.merger.advance().map_err(decode)? {
                // A list knows no shards.
                Step::Whole | Step::Torn if !reading.progress.window.bounds.hold(self.merger.id()) => {}
                Step::Whole => output.record(|out| self.merger.write(out).map_err(decode))?,
                Step::Torn => self.torn.push(self.merger.id().to_owned()),
                Step::Needs(source) => return Ok(Pause::Needs(source)),
                Step::Disorder(source) => return Ok(Pause::Disorder(source)),
                Step::Edge | Step::End => {
                    context.observer.rows(stream, output.rows());
                    return Ok(Pause::End);
                }
            }
            if self.torn.len() >= again::IDS_PER_CALL || output.is_due() {
                return Ok(Pause::Full);
            }
            steps += 1;
            if steps.is_multiple_of(LOOK_EVERY) {
                context.observer.rows(stream, output.rows());
                if context.shutdown.is_cancelled() {
                    return Err(Error::Interrupted);
                }
            }
        }
    }

    /// Notes that everything up to the last row is out; only when no row is torn. A list that leads
    /// has no place to go on from.
    fn bookmark(&self, reading: &mut Reading<'_>) {
        let id = self.merger.id();
        if self.slices.main != Way::Records && self.torn.is_empty() && !id.is_empty() {
            reading.progress.after_id = Some(id.to_owned());
            if let Some(span) = reading.progress.spans.first_mut() {
                // That id lies within this window: its files begin before it.
                span.rows_out += 1;
            }
        }
    }

    /// Pages of the list that leads.
    fn pages(&self) -> u32 {
        match self.feeds.first() {
            Some(Feed::List { pages, .. }) => *pages,
            _ => 0,
        }
    }

    /// Feeds a source with what comes next of it.
    async fn feed(
        &mut self,
        context: &Context,
        reading: &mut Reading<'_>,
        source: usize,
    ) -> Result<Fed, Error> {
        match self.feeds[source] {
            Feed::Query { left: None, pages: 2.., .. }
                if source == 0 && incremental::has_choice(context, reading) =>
            {
                Ok(Fed::Large)
            }
            Feed::Query { .. } => self.query(context, reading, source).await,
            Feed::List { .. } => self.list(context, reading, source).await,
            Feed::Files => Ok(Fed::Yes),
        }
    }

    async fn query(
        &mut self,
        context: &Context,
        reading: &mut Reading<'_>,
        source: usize,
    ) -> Result<Fed, Error> {
        let Feed::Query { after, left, pages, full } = &mut self.feeds[source] else { return Ok(Fed::Yes) };
        let fields = &self.fields[source];
        context.observer.doing(&reading.plan.stream, Way::Coql.label());
        let page = loop {
            let limit = incremental::limit(*left, *pages == 0).min(*full);
            match incremental::ask(context, reading, fields, after.as_deref(), limit).await? {
                Asked::Page(page) => break page,
                Asked::Narrow => *full = incremental::FIRST_PAGE,
                Asked::Learned => return Ok(Fed::No(Outcome::Learned)),
                Asked::Refused(reason) => return Ok(Fed::No(self.refused(reading, Way::Coql, reason))),
            }
        };
        *pages += 1;
        let read = page.records.len() as u64;
        // Nothing left and still more: nobody knows how many.
        *left = left.and_then(|left| left.checked_sub(read)).filter(|left| *left > 0);
        if let Some(last) = page.records.last() {
            *after = incremental::id_of(last);
        }
        self.hand_over(source, page);
        Ok(Fed::Yes)
    }

    async fn list(
        &mut self,
        context: &Context,
        reading: &mut Reading<'_>,
        source: usize,
    ) -> Result<Fed, Error> {
        let Feed::List { query, pages } = &mut self.feeds[source] else { return Ok(Fed::Yes) };
        let page = match list::next(context, reading, query).await {
            Ok(page) => page,
            // Beyond the reach of lists every row counts as torn, and is read by its id.
            Err(CallError::Failed(error)) if source > 0 && *pages > 0 && list::refuses(&error) => {
                Page::default()
            }
            Err(CallError::Failed(error)) if *pages == 0 && list::refuses(&error) => {
                return Ok(Fed::No(self.refused(reading, Way::Records, error.to_string())));
            }
            Err(error) => return Err(in_stream(&reading.plan.stream)(error)),
        };
        *pages += 1;
        list::forward(query, &page);
        if source == 0 {
            self.listed.add(&page);
        }
        self.hand_over(source, page);
        Ok(Fed::Yes)
    }

    fn hand_over(&mut self, source: usize, page: Page) {
        if !page.more_records {
            self.merger.finish(source);
        }
        self.merger.feed_page(source, page.records);
    }

    /// What follows from a refused way: where it only brings columns aside, somebody else may.
    fn refused(&self, reading: &mut Reading<'_>, way: Way, reason: String) -> Outcome {
        if way == self.slices.main {
            return Outcome::Refused(reason);
        }
        tracing::debug!(
            stream = reading.plan.stream,
            way = way.label(),
            reason,
            "refused beside another way"
        );
        reading.learned.ways.push(way);
        Outcome::Learned
    }
}

/// The instant that records read now carry.
pub(super) fn extracted_now(context: &Context, output: &mut StreamOutput) {
    output.extracted_at(&text(context.server_time()));
}
