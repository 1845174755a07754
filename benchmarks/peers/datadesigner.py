"""NeMo DataDesigner: one text column over a seed file. In flight 0: as it comes, else tuned.

Tuned is what its documentation says of throughput: `max_parallel_requests`, all rows in one group, its plain
template engine and no metrics endpoint.
"""

import os
from pathlib import Path

import arm

os.environ["NEMO_TELEMETRY_ENABLED"] = "false"

import data_designer.config as dd
from data_designer.interface import DataDesigner


def builder(inputs: Path, in_flight: int) -> dd.DataDesignerConfigBuilder:
    """The rows of `inputs`, and an answer to each."""
    asked = {"max_parallel_requests": in_flight} if in_flight else {}
    model = dd.ModelConfig(
        alias="teacher",
        model=arm.MODEL,
        provider="bench",
        inference_parameters=dd.ChatCompletionInferenceParams(temperature=0.0, **asked),
        skip_health_check=True,
    )
    config = dd.DataDesignerConfigBuilder(model_configs=[model])
    config.with_seed_dataset(dd.LocalFileSeedSource(path=str(inputs)))
    config.add_column(
        dd.LLMTextColumnConfig(
            name="answer", model_alias="teacher", prompt="{{ input }}", system_prompt=arm.SYSTEM
        )
    )
    return config


def main() -> None:
    given = arm.arguments()
    count = len(arm.read(given.inputs))
    provider = dd.ModelProvider(name="bench", endpoint=given.base_url, provider_type="openai", api_key="none")
    designer = DataDesigner(artifact_path=given.out.parent / "data-designer", model_providers=[provider])
    if given.in_flight:
        designer.set_run_config(
            dd.RunConfig(
                buffer_size=count,
                max_in_flight_tasks=2 * given.in_flight,
                jinja_rendering_engine=dd.JinjaRenderingEngine.NATIVE,
                otel_metrics_port=None,
            )
        )
    made = designer.create(builder(given.inputs, given.in_flight), num_records=count).load_dataset()
    arm.write(given.out, list(zip(made["input"], made["answer"], strict=True)))


if __name__ == "__main__":
    main()
