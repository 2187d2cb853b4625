"""The web page of ``mimicgan serve``, thin over ``restore``; ``page`` and ``answers`` alone import
gradio."""
