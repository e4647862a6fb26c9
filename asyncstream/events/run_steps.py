"""Take a step of a run, as its event asks: plan, move a batch, finish, abort, estimate."""

import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, assert_never

from asyncstream import prices
from asyncstream.engines import EngineName
from asyncstream.errors import AsyncstreamError, FilesFailed, FilesFailedForNow
from asyncstream.events import metrics, run_replies
from asyncstream.events.batch_events import BatchEvent, batch_of
from asyncstream.events.context import LambdaContext, within
from asyncstream.events.deployment import Deployment, deployed_session, results_session
from asyncstream.events.run_events import (
    AbortEvent,
    EstimateEvent,
    FinishEvent,
    PlanEvent,
    parse,
    run_of,
)
from asyncstream.events.run_input import check_source, plan_request
from asyncstream.pipeline.config import TransferConfig
from asyncstream.pipeline.session import TransferSession
from asyncstream.runs import counting, estimating, finishing, moving, planning
from asyncstream.runs.moving import Worker
from asyncstream.runs.outcomes import BatchOutcome, is_temporary
from asyncstream.runs.places import Run
from asyncstream.runs.run_store import RunStore, Timed


class Steps:
    """The steps of runs, as one invocation of a deployed function takes them.

    Args:
        deployment: what the function may touch.
        engine: the function's engine.
        config: the function's settings.
        context: Lambda's context object.
    """

    def __init__(
        self,
        deployment: Deployment,
        engine: EngineName,
        config: TransferConfig,
        context: LambdaContext | None,
    ) -> None:
        self._deployment = deployment
        self._engine = engine
        self._config = config.override({"at_deadline": "pending"})
        self._timed: Timed = lambda: within(self._config, context)

    def take(self, event: Any) -> Mapping[str, Any]:
        """Take the step that an event asks for, and return its reply.

        Raises:
            FilesFailedForNow: another invocation may succeed.
            FilesFailed: files of the run failed, or batches are not done.
            AsyncstreamError: the event, the configuration or the run is wrong, or cannot be read.
        """
        step = parse(event)
        try:
            match step:
                case PlanEvent():
                    return self._plan(step, event["plan"].get("settings", {}))
                case EstimateEvent():
                    return self._estimate(step, event["estimate"].get("settings", {}))
                case BatchEvent():
                    return run_replies.batch_reply(step.batch, self.move(step.batch)[0])
                case FinishEvent():
                    return self._finish(step)
                case AbortEvent():
                    return self._abort(step)
        except FilesFailed:
            raise
        except AsyncstreamError as error:
            if is_temporary(error):
                raise FilesFailedForNow(f"{type(error).__name__}: {error}") from error
            raise
        assert_never(step)

    def move(self, uri: str) -> tuple[BatchOutcome, BatchOutcome]:
        """Move what is left of a batch, and return its outcome after and before.

        Raises:
            InputError: the deployment does not allow the batch, or the settings of its run.
            SourceNotFound: there is no such batch.
        """
        run, number = batch_of(uri, self._deployment)
        with self._opened(run) as (worker, store):
            before = store.read_outcome(number) or BatchOutcome(batch=number, rows=0)
            after = moving.move_batch(store, number, worker)
        metrics.write(
            "run",
            self._engine,
            FilesCopied=after.files - before.files,
            FilesFailed=0 if after.again else len(after.failed),
            BytesCopied=after.bytes - before.bytes,
            Duration=after.seconds - before.seconds,
        )
        return after, before

    def _plan(self, step: PlanEvent, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        asked = plan_request(step.plan, settings, self._deployment, self._config)
        run = run_of(step.run, "$.run", self._deployment)
        with self._opened(run) as (worker, store):
            progress = planning.plan_run(store, asked, worker)
        return run_replies.plan_reply(run, progress)

    def _estimate(self, step: EstimateEvent, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        asked = plan_request(step.estimate, settings, self._deployment, self._config)
        with deployed_session(self._engine) as session:
            progress = counting.count_run(asked, self._worker(session))
        estimate = estimating.estimate(
            progress.totals,
            asked.functions,
            asked.speeds,
            prices.load(),
            "arm64" if platform.machine() == "aarch64" else "x86_64",
        )
        return run_replies.estimate_reply(progress, estimate)

    def _finish(self, step: FinishEvent) -> Mapping[str, Any]:
        check_source(step.asked)
        run = run_of(step.finish, "$.finish", self._deployment)
        with self._opened(run) as (worker, store):
            description = store.read_description()
            if step.moves_first:
                left = finishing.left_batches(store, description)
                store.write_todo(left)
                if left:
                    return run_replies.again_reply(run, len(left))
            report = finishing.finish_run(store, worker, step.continues_at.next_list)
        return run_replies.finish_reply(run, description, report, step.continues_at)

    def _abort(self, step: AbortEvent) -> Mapping[str, Any]:
        run = run_of(step.abort, "$.abort", self._deployment)
        with self._opened(run) as (worker, store):
            next_list = finishing.abort_run(store, worker, step.position.next_list)
        return run_replies.abort_reply(run, next_list)

    @contextmanager
    def _opened(self, run: Run) -> Iterator[tuple[Worker, RunStore]]:
        """Provide what moves the files, and the store of the run's objects."""
        with deployed_session(self._engine) as session, results_session(self._engine) as results:
            yield self._worker(session), RunStore(run, results, self._timed)

    def _worker(self, session: TransferSession) -> Worker:
        return Worker(session, self._timed, self._deployment.check_work)
