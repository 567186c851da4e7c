"""KServe's model repository with one model, which clients can neither load nor unload."""

from kserve.errors import InvalidInput, ModelNotFound
from kserve.model_repository import ModelRepository
from kserve.protocol.model_repository_extension import ModelRepositoryExtension


class PermanentRepository(ModelRepository):
    """Keeps the model to the end: KServe would unload it first when it stops."""

    def unload(self, name: str) -> None:
        pass


class ReadOnlyRepository(ModelRepositoryExtension):
    """Refuses loading and unloading by clients: versions are published in the folder."""

    async def load(self, model_name: str) -> None:
        if self._model_registry.get_model(model_name) is None:
            raise ModelNotFound(model_name)
        raise InvalidInput("versions are published in the folder of versions")

    unload = load
