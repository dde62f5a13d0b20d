{{- define "tokenswarm.labels" -}}
app.kubernetes.io/name: tokenswarm
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "tokenswarm.metadata" -}}
{{ include "tokenswarm.labels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* The release's name; its pods get up to 7 characters more, and a Job's name has 63 at most. */}}
{{- define "tokenswarm.name" -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end -}}

{{- define "tokenswarm.secret" -}}
{{ .Values.secret.existing | default (include "tokenswarm.name" .) }}
{{- end -}}

{{- define "tokenswarm.claim" -}}
{{ .Values.results.persistence.existingClaim | default (include "tokenswarm.name" .) }}
{{- end -}}

{{/* What pods of both kinds have. Called with the chart's context. */}}
{{- define "tokenswarm.pod" -}}
{{- with .Values.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
automountServiceAccountToken: {{ ne .Values.serviceAccountName "" }}
enableServiceLinks: false # TOKENSWARM_MASTER_PORT=tcp://… would stand among our own variables
securityContext: {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* What containers of both kinds have. */}}
{{- define "tokenswarm.container" -}}
image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- end -}}

{{/* In a claim, each release has a folder of its own. */}}
{{- define "tokenswarm.masterMounts" -}}
volumeMounts:
  - { name: results, mountPath: /results{{ if .Values.results.persistence.enabled }}, subPath: {{ .Release.Name }}{{ end }} }
  - { name: tmp, mountPath: /tmp }
{{- end -}}

{{- define "tokenswarm.workerMounts" -}}
volumeMounts:
  - { name: results, mountPath: /results }
  - { name: tmp, mountPath: /tmp }
{{- end -}}

{{/* Variables of both kinds. */}}
{{- define "tokenswarm.env" -}}
- { name: HOME, value: /tmp }
- { name: LOCUST_HOST, value: {{ .Values.host | quote }} }
- { name: TOKENSWARM_RESULTS, value: {{ .Values.results.upload.url | default "/results" | quote }} }
- { name: TOKENSWARM_LOCAL_RESULTS, value: /results }
- name: TOKENSWARM_CLUSTER_KEY
  valueFrom: { secretKeyRef: { name: {{ include "tokenswarm.secret" . }}, key: cluster-key } }
- name: LLM_API_KEY
  valueFrom: { secretKeyRef: { name: {{ include "tokenswarm.secret" . }}, key: api-key, optional: true } }
{{- range $name, $value := .Values.env }}
- { name: {{ $name }}, value: {{ $value | toString | quote }} }
{{- end }}
{{- end -}}

{{- define "tokenswarm.masterPorts" -}}
ports:
  - { name: workers, containerPort: 5557 }
  {{- if eq .Values.mode "page" }}
  - { name: page, containerPort: 8089 }
  {{- end }}
  - { name: metrics, containerPort: 9646 }
{{- end -}}

{{- define "tokenswarm.uploadSecret" -}}
{{- with .Values.results.upload.secret }}
envFrom: [{ secretRef: { name: {{ . }} } }]
{{- end }}
{{- end -}}

{{- define "tokenswarm.masterVolumes" -}}
volumes:
  - name: tmp
    emptyDir: {}
  - name: results
    {{- if .Values.results.persistence.enabled }}
    persistentVolumeClaim: { claimName: {{ include "tokenswarm.claim" . }} }
    {{- else }}
    emptyDir: {}
    {{- end }}
{{- end -}}

{{- define "tokenswarm.workerVolumes" -}}
volumes:
  - { name: tmp, emptyDir: {} }
  - { name: results, emptyDir: {} }
{{- end -}}
