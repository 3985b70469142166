"""Pictures of numbers: colours, layouts, and what paints them as PNG and SVG."""
