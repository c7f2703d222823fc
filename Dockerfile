FROM python:3.13-slim
WORKDIR /app
COPY pyproject.toml setup.py README.md LICENSE ./
COPY fer fer
COPY models/fer2013 models/fer2013
RUN pip install --no-cache-dir .
USER nobody
EXPOSE 8000
CMD ["fer", "serve", "--host", "0.0.0.0"]
