"""What a ComfyUI server says of itself."""

from __future__ import annotations

from tests.conformance.case import case, check
from tests.conformance.comfyui.client import ComfyUi
from tests.conformance.shapes import ANY, NOTHING, Each, OneOf

_NODE = {
    "input": dict,
    "input_order": dict,
    "output": list,
    "output_is_list": list,
    "output_name": list,
    "name": str,
    "display_name": str,
    "description": str,
    "python_module": str,
    "category": str,
    "output_node": bool,
}


@case("GET /system_stats tells the version, the memory and the devices")
async def system_stats(server: ComfyUi) -> None:
    device = {"name": str, "type": str, "index": OneOf(int, None), "vram_total": int, "vram_free": int}
    shape = {
        "system": {
            "os": str,
            "ram_total": int,
            "ram_free": int,
            "comfyui_version": str,
            "python_version": str,
            "pytorch_version": str,
            "embedded_python": bool,
            "argv": Each(str, least=1),
        },
        "devices": Each({**device, "torch_vram_total": int, "torch_vram_free": int}, least=1),
    }
    check("GET /system_stats", shape, await server.get("/system_stats"))


@case("GET /system_stats tells the versions of its companions, and how it was deployed")
async def companions(server: ComfyUi) -> None:
    await server.only_today()
    packages = Each({"name": str, "installed": OneOf(str, None), "required": OneOf(str, None)}, least=1)
    shape = {"comfy_package_versions": packages, "deploy_environment": str}
    check("GET /system_stats", {"system": shape}, await server.get("/system_stats"))


@case("GET /features tells of model types, replaced nodes, the manager, and whether assets are on")
async def features_of_today(server: ComfyUi) -> None:
    await server.only_today()
    shape = {
        "supports_model_type_tags": bool,
        "node_replacements": bool,
        "extension": {"manager": dict},
        "assets": bool,
    }
    check("GET /features", shape, await server.get("/features"))


@case("GET /api/assets is 503 with SERVICE_DISABLED unless assets are on, and then a list")
async def assets(server: ComfyUi) -> None:
    await server.only_today()
    if (await server.get("/features"))["assets"]:
        check("GET /api/assets", {"assets": list}, await server.get("/api/assets"))
    else:
        await server.refuses("GET", "/api/assets", 503, {"error": {"code": "SERVICE_DISABLED", "message": str}})


@case("GET /features tells the limit of uploads and that previews can carry metadata")
async def features(server: ComfyUi) -> None:
    check("GET /features", {"supports_preview_metadata": True, "max_upload_size": int}, await server.get("/features"))


@case("JSON answers name their character set")
async def json_content_type(server: ComfyUi) -> None:
    for path in ("/queue", "/system_stats", "/history/unknown"):
        reply = await server.send("GET", path)
        check(f"the type of {path}", "application/json; charset=utf-8", reply.headers.get("Content-Type"))


@case("HEAD and OPTIONS are answered, without a body")
async def head_and_options(server: ComfyUi) -> None:
    await server.refuses("HEAD", "/queue", 200, "")
    await server.refuses("OPTIONS", "/prompt", 200, "")


@case("GET /queue of an idle server has two empty lists")
async def idle_queue(server: ComfyUi) -> None:
    await server.idle()
    check("GET /queue", {"queue_running": [], "queue_pending": []}, await server.get("/queue"))


@case("GET /prompt of an idle server counts nothing")
async def idle_prompt(server: ComfyUi) -> None:
    await server.idle()
    check("GET /prompt", {"exec_info": {"queue_remaining": 0}}, await server.get("/prompt"))


@case("GET /models lists the folders of models, GET /models/{folder} what is in one")
async def models(server: ComfyUi) -> None:
    folders = await server.get("/models")
    check("GET /models", Each(str, least=1), folders)
    check("checkpoints is among the folders", True, "checkpoints" in folders)
    check("GET /models/checkpoints", Each(str), await server.get("/models/checkpoints"))


@case("an unknown folder of models is 404 without a body")
async def models_of_unknown_folder(server: ComfyUi) -> None:
    await server.refuses("GET", "/models/no-such-folder", 404, "")


@case("GET /object_info/{class} describes one node, with its inputs in order")
async def object_info(server: ComfyUi) -> None:
    answer = await server.get("/object_info/EmptyImage")
    check("GET /object_info/EmptyImage", {"EmptyImage": _NODE}, answer)
    node = answer["EmptyImage"]
    check("the inputs", {"required": {"width": ["INT", {"default": int, "min": 1, "max": int}]}}, node["input"])
    check("their order", ["width", "height", "batch_size", "color"], node["input_order"]["required"])
    check("the outputs", ["IMAGE"], node["output"])


@case("GET /object_info describes every node")
async def object_info_of_all(server: ComfyUi) -> None:
    answer = await server.get("/object_info")
    check("GET /object_info", {"SaveImage": _NODE, "LoadImage": _NODE, "KSampler": ANY}, answer)
    check("SaveImage.output_node", True, answer["SaveImage"]["output_node"])


@case("an unknown class is 200 with an empty object")
async def object_info_of_unknown_class(server: ComfyUi) -> None:
    check("GET /object_info/NoSuchNode", NOTHING, await server.get("/object_info/NoSuchNode"))


@case("every route is there under /api too")
async def routes_under_api(server: ComfyUi) -> None:
    for path in ("system_stats", "features", "queue", "prompt", "models", "object_info/EmptyImage", "history"):
        await server.get(f"/api/{path}")
    async with server.socket("/api/ws?clientId=conformance") as events:
        check("the greeting", {"type": "status", "data": {"sid": "conformance"}}, await events.next())


@case("GET /embeddings and GET /extensions are lists")
async def lists(server: ComfyUi) -> None:
    for path in ("/embeddings", "/extensions"):
        check(f"GET {path}", Each(str), await server.get(path))
