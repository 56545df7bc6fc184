"""What runs inside the training process: standard library only, Python 3.9 or newer, relocatable.

`path/` goes at the head of PYTHONPATH; its `sitecustomize` loads this directory by location under the
name `_paceline_attach`, so nothing else of Paceline is ever importable by the job. Outside the training
process the same modules are imported as `paceline_exporters.attach`.
"""
