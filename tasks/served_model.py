"""The code that MLflow stores with a registered agent, and runs to load it ("models from code")."""

from agents import load_agent
from tracking.served_model import serve

serve(load_agent)
