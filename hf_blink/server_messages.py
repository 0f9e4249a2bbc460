"""The bodies of the server's requests and answers, as its OpenAPI document shows them.

Fields marked with `SkipValidation` are described here and checked by the linker's own checks (`link_requests`), whose
messages name what is wrong in one line.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SkipValidation, StrictBool, StrictStr

EXAMPLE_TEXT = "Paris is the capital of France."


class Span(BaseModel):
    """A mention in characters of the text, end exclusive; the pair [start, end] says the same."""

    start: int
    end: int


class TextInput(BaseModel):
    """A text with its own settings."""

    text: str
    mentions: list[tuple[int, int] | Span] | None = Field(None, description="null looks for mentions")
    world: str | None = Field(
        None, description="part of the knowledge base; goes before the parameter `worlds`"
    )


class LinkParameters(BaseModel):
    """Options for all texts of a request; null takes the linker's own."""

    model_config = ConfigDict(extra="forbid")

    top_k: SkipValidation[int | None] = Field(None, description="candidates in the answer")
    threshold: SkipValidation[float | None] = Field(None, description="links with a lower score are left out")
    return_nil: StrictBool = Field(False, description='keep links under the threshold, with `"nil": true`')
    marks: tuple[StrictStr, StrictStr] | None = Field(
        None, description='opening and closing mark around the mentions, such as ["[[", "]]"]'
    )
    worlds: SkipValidation[str | list[str | None] | None] = Field(
        None, description="part of the knowledge base, for all texts or for each"
    )


class LinkRequest(BaseModel):
    """Texts to link."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"inputs": EXAMPLE_TEXT, "parameters": {"top_k": 5}}]},
    )

    inputs: SkipValidation[str | TextInput | list[str | TextInput]]
    parameters: LinkParameters | None = None


class CandidateAnswer(BaseModel):
    """An entity that a mention may mean."""

    entity_id: str
    title: str
    score: float = Field(description="probability")
    retrieval_score: float = Field(description="raw similarity of the bi-encoder")
    rerank_score: float | None = Field(description="raw logit of the cross-encoder")


class LinkAnswer(BaseModel):
    """The link of a mention; `entity_id` and `title` are null where `nil` is true."""

    start: int = Field(description="first character")
    end: int = Field(description="character after the last one")
    word: str
    entity_id: str | None
    title: str | None
    score: float = Field(description="probability")
    retrieval_score: float | None
    rerank_score: float | None
    mention_score: float | None = Field(description="probability of a mention that an ELQ model found")
    nil: bool
    candidates: list[CandidateAnswer] = Field(description="best first")


class EntityAnswer(BaseModel):
    """An entity of the knowledge base."""

    entity_id: str
    title: str
    description: str
    aliases: list[str]
    world: str | None
    url: str | None
    metadata: dict[str, Any]


class HealthAnswer(BaseModel):
    """The state of the server."""

    status: str
    model: str
    entities: int = Field(description="entities in the knowledge base")
    versions: dict[str, str]


class ErrorAnswer(BaseModel):
    """What was wrong."""

    error: str
