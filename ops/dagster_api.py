"""Dagster, asked over its GraphQL as any other client would: no import of dagster here."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import httpx

from core.errors import PermanentError, TransientError

FINISHED: Final = frozenset({"SUCCESS", "FAILURE", "CANCELED"})
_UNFINISHED: Final = ["QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"]
_REPOSITORY: Final = "__repository__"  # the name Dagster gives to Definitions

_LAUNCH: Final = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on Error { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}"""
_ADD_PARTITION: Final = """
mutation AddPartition($repository: RepositorySelector!, $set: String!, $key: String!) {
  addDynamicPartition(
    repositorySelector: $repository, partitionsDefName: $set, partitionKey: $key
  ) {
    __typename
    ... on Error { message }
  }
}"""
_RUN: Final = """
query Run($id: ID!) {
  runOrError(runId: $id) {
    __typename
    ... on Run { status }
    ... on Error { message }
  }
}"""
_FAILURES: Final = """
query Failures($id: ID!) {
  logsForRun(runId: $id) {
    ... on EventConnection {
      events {
        __typename
        ... on ExecutionStepFailureEvent { error { message causes { message } } }
        ... on RunFailureEvent { message }
      }
    }
  }
}"""
_UNFINISHED_RUNS: Final = """
query Unfinished($statuses: [RunStatus!]) {
  runsOrError(filter: {statuses: $statuses}, limit: 50) { ... on Runs { results { runId } } }
}"""
_TERMINATE: Final = """
mutation Terminate($ids: [String!]!) {
  terminateRuns(runIds: $ids, terminatePolicy: SAFE_TERMINATE) { __typename }
}"""
_LOCATIONS: Final = """
query Locations {
  workspaceOrError {
    ... on Workspace {
      locationEntries { name locationOrLoadError { __typename ... on Error { message } } }
    }
  }
}"""
_SENSOR_DAEMON: Final = """
query SensorDaemon {
  instance { daemonHealth { daemonStatus(daemonType: "SENSOR") { healthy } } }
}"""


@dataclass(frozen=True)
class JobRun:
    """How a run ended."""

    run_id: str
    status: str
    error: str | None


class DagsterApi:
    """GraphQL client of one Dagster webserver; a context manager."""

    def __init__(self, url: str, *, timeout: float = 30.0) -> None:
        self._client = httpx.Client(base_url=url, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def launch(
        self,
        job: str,
        *,
        location: str,
        partition: str | None = None,
        run_config: Mapping[str, Any] | None = None,
    ) -> str:
        """Start a run and return its id. PermanentError when Dagster refuses."""
        tags = [{"key": "dagster/partition", "value": partition}] if partition else []
        params = {
            "selector": {
                "repositoryLocationName": location,
                "repositoryName": _REPOSITORY,
                "pipelineName": job,
            },
            "runConfigData": run_config or {},
            "executionMetadata": {"tags": tags},
        }
        answer = self._query(_LAUNCH, {"params": params})["launchRun"]
        if answer["__typename"] != "LaunchRunSuccess":
            details = [answer.get("message")] + [e["message"] for e in answer.get("errors", [])]
            raise PermanentError(
                f"Dagster refused to start {job}: {'; '.join(filter(None, details))}"
            )
        return str(answer["run"]["runId"])

    def add_partition(self, partition_set: str, key: str, *, location: str) -> None:
        """Add a dynamic partition; one that is there already is fine."""
        repository = {"repositoryLocationName": location, "repositoryName": _REPOSITORY}
        variables = {"repository": repository, "set": partition_set, "key": key}
        answer = self._query(_ADD_PARTITION, variables)["addDynamicPartition"]
        fine = {"AddDynamicPartitionSuccess", "DuplicateDynamicPartitionError"}
        if answer["__typename"] not in fine:
            raise PermanentError(f"Dagster refused the partition {key}: {answer.get('message')}")

    def status(self, run_id: str) -> str:
        answer = self._query(_RUN, {"id": run_id})["runOrError"]
        if answer["__typename"] != "Run":
            raise PermanentError(f"Dagster does not know run {run_id}: {answer.get('message')}")
        return str(answer["status"])

    def wait(
        self, run_id: str, *, seconds: float, every: float = 0.5, watch: Callable[[str], None]
    ) -> JobRun:
        """Follow a run to its end; `watch` gets its status at each look.

        Raises TransientError when it takes longer.
        """
        deadline = time.monotonic() + seconds
        while True:
            status = self.status(run_id)
            watch(status)
            if status in FINISHED:
                error = None if status == "SUCCESS" else self.failure(run_id)
                return JobRun(run_id, status, error)
            if time.monotonic() > deadline:
                raise TransientError(f"Run {run_id} has not ended after {seconds:.0f} s.")
            time.sleep(every)

    def failure(self, run_id: str) -> str:
        """What went wrong, in the words of the step that failed."""
        events = self._query(_FAILURES, {"id": run_id})["logsForRun"].get("events", [])
        said = [
            cause["message"].strip()
            for event in events
            if event.get("error")
            for cause in [event["error"], *event["error"].get("causes", [])]
        ]
        return "\n".join(said) or "\n".join(e["message"] for e in events if e.get("message"))

    def unfinished_runs(self) -> list[str]:
        answer = self._query(_UNFINISHED_RUNS, {"statuses": _UNFINISHED})["runsOrError"]
        return [str(run["runId"]) for run in answer.get("results", [])]

    def terminate(self, run_ids: list[str]) -> None:
        """Ask runs to end after what they are doing."""
        if run_ids:
            self._query(_TERMINATE, {"ids": run_ids})

    def location_errors(self) -> dict[str, str | None]:
        """Code locations by name, each with the error that keeps it from loading, if any."""
        answer = self._query(_LOCATIONS)["workspaceOrError"]
        return {
            entry["name"]: _location_error(entry["locationOrLoadError"])
            for entry in answer.get("locationEntries", [])
        }

    def sensors_tick(self) -> bool:
        """Whether the daemon has reported its sensor loop as healthy."""
        status = self._query(_SENSOR_DAEMON)["instance"]["daemonHealth"]["daemonStatus"]
        return bool(status["healthy"])

    def _query(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        try:
            response = self._client.post(
                "/graphql", json={"query": query, "variables": variables or {}}
            )
            response.raise_for_status()
        except httpx.HTTPError as error:
            raise TransientError(f"Dagster does not answer: {error}") from error
        body = response.json()
        if body.get("errors"):
            raise PermanentError(f"Dagster's GraphQL refused: {body['errors'][0]['message']}")
        data: dict[str, Any] = body["data"]
        return data


def _location_error(state: Mapping[str, Any] | None) -> str | None:
    if state is None:
        return "is still loading"
    if state["__typename"] == "RepositoryLocation":
        return None
    return str(state.get("message") or "could not be loaded")
