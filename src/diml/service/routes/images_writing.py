"""`POST` and `DELETE /v1/indexes/{name}/images`: images that are added and removed, as jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Query, Request, Response

from diml.data.collection import Skipped
from diml.errors import ImageError
from diml.search import Index
from diml.service.answering import Answering
from diml.service.documents import document
from diml.service.examples import JOB_STARTED, shown
from diml.service.indexes import ServedIndex
from diml.service.jobs import Job, Jobs, as_dict, embedding_in
from diml.service.multipart import RequiredFile, form_route
from diml.service.problems import RequestError
from diml.service.routes.images import no_image
from diml.service.spooling import Spool, spooled

# Small, because a search waits for a batch that has begun.
BATCH = 8
COMMIT_SECONDS = 2.0
STARTED = shown(JOB_STARTED, status=202)


def writing_routes(answering: Answering, jobs: Jobs) -> APIRouter:
    """The routes that change an index; they exist also where nothing may be changed, and say so."""
    router = APIRouter(
        prefix="/v1/indexes/{name}/images", tags=["images"], route_class=form_route(answering.settings.parts)
    )

    @router.post(
        "",
        summary="Add images, as a job",
        status_code=202,
        response_class=Response,
        responses=STARTED,
    )
    async def add(
        request: Request,
        name: str,
        image: Annotated[list[RequiredFile], File(description="Images; their names become their paths.")],
        label: Annotated[list[str], Form(description="A label for each image, in their order, or none.")] = [],  # noqa: B006
    ) -> Response:
        """Embed and store images; one of a name that is stored already takes its place.

        The index keeps their features and thumbnails. The service keeps no copy of the files themselves.
        """
        _check_free(answering, jobs)
        answering.served(name).changeable()
        async with answering.using(name) as used:
            spool = await spooled(image, label)
            job = Job(name, "add", len(image))
            try:
                skipped = await _unreadable(answering, used.index, spool)
                jobs.start(job, _adding(answering, used.served, spool, skipped), discard=spool.close)
            except BaseException:
                spool.close()
                raise
            return _started(job)

    @router.delete(
        "",
        summary="Remove images, as a job",
        status_code=202,
        response_class=Response,
        responses=STARTED,
    )
    async def remove(
        name: str, id: Annotated[list[str], Query(description="Ids of images.", min_length=1, max_length=500)]
    ) -> Response:
        """Drop images from the index; their files stay."""
        _check_free(answering, jobs)
        answering.served(name).changeable()
        async with answering.using(name) as used:
            missing = await answering.run(lambda: used.index.missing(id))
            if missing:
                raise no_image(missing[0])
            job = Job(name, "remove", len(id))
            jobs.start(job, lambda progress: {"removed": used.served.current().remove(id)})
            return _started(job)

    return router


def _adding(
    answering: Answering, served: ServedIndex, spool: Spool, skipped: list[Skipped]
) -> Callable[[Callable[[int, int], None]], dict[str, Any]]:
    def work(progress: Callable[[int, int], None]) -> dict[str, Any]:
        try:
            collection = spool.collection(skipped)
            if not collection.paths:
                raise ImageError(f"none of the images can be read; the first: {skipped[0].reason}")
            model = embedding_in(answering.embedding, served.current().model)
            index = Index.open(served.changeable(), model=model)
            report = index.add(collection, batch_size=BATCH, commit_seconds=COMMIT_SECONDS, progress=progress)
            return as_dict(report)
        finally:
            spool.close()

    return work


async def _unreadable(answering: Answering, index: Index, spool: Spool) -> list[Skipped]:
    """The uploads that cannot be decoded, found by the processes that may fail, before this one decodes them."""
    skipped = []
    for path in spool.paths:
        try:
            async with answering.opening:
                data = await answering.run(spool.file(path).read_bytes)
                await answering.decode(index, data, path)
        except ImageError as error:
            skipped.append(Skipped(path, str(error)))
    return skipped


def _check_free(answering: Answering, jobs: Jobs) -> None:
    """Refuse a change before anything is read of it.

    Raises:
        RequestError: 403, nothing may be changed here; 429 or 503, no job can begin.
    """
    if not answering.settings.writable:
        raise RequestError(403, "this service changes nothing; start it with --writable and --token-file")
    jobs.check_free()


def _started(job: Job) -> Response:
    return document({"job": job.id}, 202, {"location": f"/v1/jobs/{job.id}"})
