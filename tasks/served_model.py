"""The code file that MLflow stores with a registered agent and runs to load it again ("models from code")."""

from agents import load_agent
from tracking.served_model import serve

serve(load_agent)
